"""How soon does a command answer?

In a copy of the project with the demo's frames of all seven corpora: `python -m pipelines.train --help`, and a `dvc repro` that has
nothing to do. Beside `--help` stands that of a script that parses `transformers.TrainingArguments` with `HfArgumentParser`, as most
training scripts do.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.project import copy_project
from benchmarks.workloads import keep_folder

TIMES = 3
SCRIPT = """
from transformers import HfArgumentParser, Trainer, TrainingArguments

if __name__ == "__main__":
    HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
"""


def _begin(frames: bool, *command: str) -> Callable[[float], Work]:
    def begin(scale: float) -> Work:
        project = copy_project(with_frames=frames)

        def run() -> None:
            for _ in range(scaled(TIMES, scale)):
                project.run(*command)

        return Work(run, scaled(TIMES, scale))

    return begin


def script(scale: float) -> Work:
    path = Path(keep_folder().name) / "train.py"
    path.write_text(SCRIPT)
    return _begin(False, sys.executable, str(path), "--help")(scale)


CLAIM = Claim(
    "start",
    "How soon does a command answer?",
    unit="start",
    contenders=(
        Contender("python -m pipelines.train --help", _begin(False, sys.executable, "-m", "pipelines.train", "--help"), kind="help"),
        Contender("dvc repro (nothing to do)", _begin(True, "dvc", "repro")),
        Contender("--help of a script with TrainingArguments", script, is_peer=True, kind="help"),
    ),
    limits=(Limit("python -m pipelines.train --help", 0.5),),
    repeats=5,
    passes=1,
)

if __name__ == "__main__":
    main(CLAIM)
