"""Every claim, one after the other, and the README's table: `python -m benchmarks [--scale N …]`; options go to every claim.

A claim that fails does not keep the others from running; the exit code is then not 0. A peer that fails is named in its claim's result.
"""

import subprocess
import sys
import time

from benchmarks.machine import ROOT

CLAIMS: tuple[str, ...] = (
    "start",
    "limit",
    "ingest",
    "shared_machine",
    "epoch_read",
    "growth",
    "evaluate",
    "frozen",
    "feature_encoder",
    "partly_frozen",
    "layers",
    "lora",
    "unfrozen",
    "tracking",
    "sweep",
    "baseline",
    "survey",
    "quality",
)

if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv[1:]}:
        print(__doc__)
    else:
        started, failed = time.monotonic(), []
        for number, claim in enumerate(CLAIMS, 1):
            print(f"[{(time.monotonic() - started) / 60:.0f} min] {number}/{len(CLAIMS)} {claim}", flush=True)
            if subprocess.run([sys.executable, "-m", f"benchmarks.{claim}", *sys.argv[1:]], cwd=ROOT, check=False).returncode:
                failed.append(claim)
        subprocess.run([sys.executable, "-m", "benchmarks.table"], cwd=ROOT, check=True)
        print(f"[{(time.monotonic() - started) / 60:.0f} min] done" + (f", failed: {', '.join(failed)}" if failed else ""))
        sys.exit(1 if failed else 0)
