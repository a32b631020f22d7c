"""How soon does a command answer?

In a copy of the project with the demo's frames: `python -m pipelines.train --help`; a misspelt corpus, until its one line has come and the
process has ended; a good command, until its first line and until the first step of its first round is done; and a `dvc repro` that has
nothing to do. Beside `--help` stands that of a script that parses `transformers.TrainingArguments` with `HfArgumentParser`, as most
training scripts do.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.project import RUNS, Project, copy_project
from benchmarks.workloads import keep_folder

TIMES = 3
SCRIPT = """
from transformers import HfArgumentParser, Trainer, TrainingArguments

if __name__ == "__main__":
    HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
"""
FIRST_STEP = """
import os, runpy, sys
from torch.optim import AdamW

step = AdamW.step

def step_once(self, *arguments, **options):
    step(self, *arguments, **options)
    os._exit(0)

AdamW.step = step_once
runpy.run_module("pipelines.train", run_name="__main__", alter_sys=True)
"""
"""Ends a training after its first step; torch, which it imports first, is needed for that step anyway."""
TRAIN = ("--test_dataset", "CREMA", "--model", "tiny")


def _begin(frames: bool, *command: str) -> Callable[[float], Work]:
    return _timed(lambda project: project.run(*command), frames)


def _timed(call: Callable[[Project], object], frames: bool, corpora: Sequence[str] = ()) -> Callable[[float], Work]:
    def begin(scale: float) -> Work:
        project = copy_project(corpora, with_frames=frames)

        def run() -> None:
            for _ in range(scaled(TIMES, scale)):
                call(project)

        return Work(run, scaled(TIMES, scale))

    return begin


def _refuse(project: Project) -> None:
    """Have a misspelt corpus refused."""
    command = [sys.executable, "-m", "pipelines.train", "--test_dataset", "CREMAA"]
    refused = subprocess.run(command, cwd=project.root, env=project.variables, capture_output=True, text=True)
    assert refused.returncode, "a misspelt corpus was accepted"
    assert "CREMAA" in refused.stderr


def _say_first_line(project: Project) -> None:
    """Wait for the first line of a training, and end it."""
    command = [sys.executable, "-m", "pipelines.train", *TRAIN]
    with subprocess.Popen(
        command, cwd=project.root, env=project.variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("training: ")
        process.kill()


def _take_first_step(project: Project) -> None:
    project.run(sys.executable, "-c", FIRST_STEP, *TRAIN)
    project.remove(*(name for name in RUNS if name != "mlflow.db"))  # the tracking store exists, as after `make setup`


def script(scale: float) -> Work:
    path = Path(keep_folder().name) / "train.py"
    path.write_text(SCRIPT)
    return _begin(False, sys.executable, str(path), "--help")(scale)


HELP, REFUSAL, FIRST_LINE, STEP = "python -m pipelines.train --help", "a misspelt corpus is refused", "the first line", "the first step"

CLAIM = Claim(
    "start",
    "How soon does a command answer?",
    unit="start",
    contenders=(
        Contender(HELP, _begin(False, sys.executable, "-m", "pipelines.train", "--help"), kind="help"),
        Contender(REFUSAL, _timed(_refuse, False), kind="refusal"),
        Contender(FIRST_LINE, _timed(_say_first_line, True, ["CREMA"]), kind="first line"),
        Contender(STEP, _timed(_take_first_step, True, ["CREMA"]), kind="first step"),
        Contender("dvc repro (nothing to do)", _begin(True, "dvc", "repro")),
        Contender("--help of a script with TrainingArguments", script, is_peer=True, kind="help"),
    ),
    limits=(Limit(HELP, 0.5), Limit(REFUSAL, 0.6), Limit(FIRST_LINE, 0.5), Limit(STEP, 3.0)),
    repeats=5,
    passes=1,
)

if __name__ == "__main__":
    main(CLAIM)
