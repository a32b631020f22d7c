"""Synthesise a demo corpus in the naming of the real one. `python -m pipelines.demo --corpus CREMA`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description="Write synthetic, speech-like clips in the naming of a real corpus.")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", type=Path, help="folder to write [data/demo/CORPUS]")
    arguments = parser.parse_args()
    from ser_mlops.data.demo.writing import write_demo
    from ser_mlops.data.folders import DEMO

    folder = arguments.out or DEMO / arguments.corpus
    print(f"{arguments.corpus}: {write_demo(arguments.corpus, folder)} synthetic clips in {folder}")


if __name__ == "__main__":
    run_command(main)
