"""Every claim, one after the other, and the README's table: `python -m benchmarks [--scale N …]`; options go to every claim."""

import subprocess
import sys

from benchmarks.machine import ROOT

CLAIMS: tuple[str, ...] = ("ingest", "frozen", "frozen_cnn", "unfrozen")

if __name__ == "__main__":
    commands = [*([f"benchmarks.{claim}", *sys.argv[1:]] for claim in CLAIMS), ["benchmarks.table"]]
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode for command in commands]
    sys.exit(max(codes))
