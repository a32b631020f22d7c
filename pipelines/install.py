"""Fill .venv from requirements.lock: with uv, which links files from its cache, or with pip where uv cannot be had.

It runs before anything is installed, in whichever Python is there, so it imports the standard library alone.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENT = Path(".venv")
PYTHON = ENVIRONMENT / "bin/python"
LOCK = Path("requirements.lock")
NEWEST, OLDEST = (3, 13), (3, 11)
started = time.monotonic()


def main() -> None:
    """Make the environment, fill it, and link the project into it."""
    argparse.ArgumentParser(description="Fill .venv from requirements.lock: make setup").parse_args()
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(f"error: Python 3.11 to 3.13 is needed, this is {found}: make setup PYTHON=python3.12, say")
    if ENVIRONMENT.is_symlink():
        raise SystemExit("error: .venv is a link to another environment, which this would change: remove the link first")
    if not LOCK.is_file():
        raise SystemExit("error: run it in the project's folder: make setup")
    make_environment()
    pins = re.findall(r"^(\S+==\S+)", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    uv = find_uv(pins)
    say(f"up to {len(pins)} packages with {'uv' if uv else 'pip'} (3 GB to download once; seconds where a cache has them)")
    if not (uv and install_with_uv(uv)):
        install_with_pip()


def say(what: str) -> None:
    """Print what is being done, and when it began."""
    print(f"setup: [{time.monotonic() - started:3.0f} s] {what}", flush=True)


def make_environment() -> None:
    """Make .venv, or a broken one again."""
    say(f".venv with Python {sys.version.split()[0]}")
    make = [sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)]
    if not (succeeds(make) and succeeds([str(PYTHON), "-c", "import sys"])):
        subprocess.run([*make, "--clear"], check=True)


def find_uv(pins: Sequence[str]) -> str | None:
    """Return the uv of .venv, of the path, or the pinned one, which pip brings into .venv; None where that fails."""
    own = str(ENVIRONMENT / "bin/uv")
    for uv in filter(None, (own, shutil.which("uv"))):
        if succeeds([uv, "--version"]):
            return uv
    pinned = [pin for pin in pins if pin.startswith("uv==")]
    if not pinned:
        return None
    say(f"{pinned[0]}, which installs the rest")
    # The pip of this Python fills .venv, which saves the seconds that one of its own takes to arrive.
    if succeeds([sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", "--no-deps", *pinned]):
        return own
    return own if bring_pip() and succeeds([str(PYTHON), "-m", "pip", "install", "--quiet", "--no-deps", *pinned]) else None


def bring_pip() -> bool:
    """Bring the pip that comes with Python into .venv."""
    return succeeds([str(PYTHON), "-m", "pip", "--version"]) or succeeds([str(PYTHON), "-m", "ensurepip"])


def install_with_uv(uv: str) -> bool:
    """Install what is locked, and the project as a link to its folder; say whether that worked."""
    install = [uv, "pip", "install", "--python", str(PYTHON), "--no-deps"]
    is_done = shows([*install, "--requirement", str(LOCK)]) and shows([*install, "--no-build-isolation", "--editable", "."])
    if not is_done:
        say("uv could not: pip tries")
    return is_done


def shows(command: Sequence[str]) -> bool:
    """Run a command in sight, but for its list of what it has installed in a log file; say whether it ended well."""
    if sys.stderr.isatty():
        return subprocess.run(command, check=False).returncode == 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not line.startswith((" + ", " - ", " ~ ")):
                print(line, end="", file=sys.stderr, flush=True)
    return process.returncode == 0


def install_with_pip() -> None:
    """Do the same with pip; where pip fails, its message is the last word."""
    if not bring_pip():
        raise SystemExit("error: this Python has no pip (Debian: apt-get install python3-venv)")
    install = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", "--no-deps"]
    for what in (["--requirement", str(LOCK)], ["--no-build-isolation", "--editable", "."]):
        ran = subprocess.run([*install, "--quiet", *what], check=False)
        if ran.returncode:
            raise SystemExit(ran.returncode)


def succeeds(command: Sequence[str]) -> bool:
    """Say whether a command ran and ended well; its output is not shown."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
