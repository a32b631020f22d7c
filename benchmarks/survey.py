"""How many heads a minute does a survey train over a warm cache?

HuBERT of base size (random weights) through `python -m pipelines.survey` with recipe=head and `within`: five of the demo's corpora
(synthetic), all folds, five rounds, from the start of the command to its end. The encoder's outputs are in the cache. Every head is a run
in MLflow (sqlite) with its curves, scores, predictions, figures and model; the survey ends with its table. A head has at most 50 epochs.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.project import RUNS, copy_project
from benchmarks.workloads import write_model

CORPORA = ("CREMA", "EMOFILM", "RAVDESS", "SAVEE", "TESS")
ROUNDS = 5
MINUTES = 2
"""That the heads of one model should take."""


def heads(scale: float) -> Work:
    project = copy_project(CORPORA)
    model = write_model(project.root / "model")
    rounds = scaled(ROUNDS, scale)

    def survey(rounds: int, **options: object) -> str:
        return project.python("pipelines.survey", models=model, recipe="head", rounds=rounds, precision="float32", **options)

    survey(1, epochs=1)  # fills the caches
    num_folds = sum(_num_folds(project.root / f"data/frames/{corpus}.parquet") for corpus in CORPORA)

    def run() -> Mapping[str, float]:
        start = os.times()
        survey(rounds)
        end = os.times()
        busy = end.children_user + end.children_system - start.children_user - start.children_system
        num_heads = num_folds * rounds
        return {
            "heads a minute": 60 * num_heads / (end.elapsed - start.elapsed),
            "processor s per head": busy / num_heads,
            "minutes of five rounds": (end.elapsed - start.elapsed) / 60 * ROUNDS / rounds,
        }

    return Work(run, num_folds * rounds, lambda: project.remove(*RUNS))


def _num_folds(frame: Path) -> int:
    import pandas as pd

    return int(pd.read_parquet(frame, columns=["fold"])["fold"].nunique())


OURS = "ser_mlops (warm cache)"
CLAIM = Claim(
    "survey",
    "How many heads a minute does a survey train over a warm cache?",
    unit="head",
    contenders=(Contender(OURS, heads),),
    limits=(Limit(OURS, None, "heads a minute"), Limit(OURS, MINUTES, "minutes of five rounds")),
    repeats=1,
    warmups=0,
    passes=1,
)

if __name__ == "__main__":
    main(CLAIM)
