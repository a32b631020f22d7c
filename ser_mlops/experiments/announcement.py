"""What a command prints before anything slow happens: what is about to run, on which data, and where its runs will be."""

import os
from typing import TYPE_CHECKING

from ser_mlops.errors import counted
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE

if TYPE_CHECKING:
    from ser_mlops.experiments.experiment import Experiment

MAX_LINES = 8
"""Trainings that are listed one a line; more are counted."""


def announce(settings: Settings, what: str) -> None:
    """Print what is known from the settings alone; `what` is what they start, "training" say."""
    train, data = settings.train, settings.data
    is_baseline = train.model == BASELINE
    recipe = f" by recipe {train.recipe}" if train.recipe else ""
    frozen = "" if is_baseline or train.freeze == "none" else f", {train.freeze} frozen"
    epochs = "" if is_baseline else f" of {counted(train.epochs, 'epoch')}"
    rounds = f"{counted(train.rounds, 'round')}{epochs}"
    _say(f"{what}: {train.experiment_type}, {train.model}{recipe}{frozen}, {_corpora(settings)}, {rounds}; raw data: {data.raw}")
    if train.freeze == "encoder" and train.head_lr is not None and not is_baseline:
        _say(f"note: freeze=encoder trains the head alone, which has head_lr={train.head_lr:g}: lr={train.lr:g} has no effect")
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    _say(f"runs: {store}, experiment {os.environ.get('MLFLOW_EXPERIMENT_NAME', 'ser')}")


def _corpora(settings: Settings) -> str:
    """Say who is trained on and who is tested, as far as the settings name them."""
    train, known = settings.train, settings.data.corpora
    if halved := train.test_split_source:
        trained = train.train_datasets or [name for name in known if name != halved]
        return f"trained on {', '.join(trained)}, validated and tested on halves of {halved}"
    if not train.test_dataset:
        return f"trained and tested on {', '.join(train.train_datasets or known)}"
    if not train.train_datasets:
        return f"trained and tested on {train.test_dataset}"
    return f"trained on {', '.join(train.train_datasets)}, tested on {train.test_dataset}"


def announce_trainings(experiment: "Experiment") -> None:
    """Print who is trained on and who is tested, in clips."""
    trainings = experiment.trainings
    if experiment.emotions_note:
        _say(experiment.emotions_note)
    for training in trainings if len(trainings) <= MAX_LINES else ():
        counts = (f"{side} {len(frame)}" for side, frame in training.sides.items())
        _say(f"clips of {training.name}: {', '.join(counts)}")
    if len(trainings) > MAX_LINES:
        _say(f"{len(trainings)} trainings on {', '.join(experiment.versions)}")


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # under torchrun the first process alone speaks
        print(line, flush=True)
