"""Environments of the peers: built on demand under benchmarks/.peers/<name>, installed by name, never into our own."""

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parent / ".peers"


@dataclass(frozen=True)
class Environment:
    """A peer's packages; ours (torch, say) are seen behind them unless `sees_ours` is off, so that both sides run the same ones."""

    name: str
    packages: tuple[str, ...]
    sees_ours: bool = True

    def python(self, folder: Path = PEERS) -> Path:
        """Return the environment's Python, building it first where it is missing, broken, of other packages or behind another of ours.

        Raises:
            subprocess.CalledProcessError: the packages cannot be installed; stderr says why.
        """
        home = folder / self.name
        python = home / "bin" / "python"
        stamp = home / "complete"
        if not stamp.is_file() or stamp.read_text() != self._wanted():
            stamp.unlink(missing_ok=True)
            venv.create(home, clear=True, with_pip=True)
            if self.sees_ours:
                packages = Path(
                    subprocess.run(
                        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
                    ).stdout.strip()
                )
                (packages / "ours.pth").write_text(f"{_our_packages()}\n")
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.packages],
                capture_output=True,
                text=True,
                check=True,
            )
            stamp.write_text(self._wanted())
        return python

    def _wanted(self) -> str:
        return "\n".join([sys.version, *self.packages, f"sees ours: {_our_packages() if self.sees_ours else False}"])


def _our_packages() -> Path:
    """Return the folder of our packages itself: a link to it, as in a second checkout, may go while the peers stay."""
    return Path(sysconfig.get_path("purelib")).resolve()
