"""Train and test: the experiments of entry point `main`, every round a child run in MLflow."""

import os
from collections.abc import Mapping

from ser_mlops.commands import parse_given
from ser_mlops.tracking.command import run_tracked_command

USED = ("train", "baseline", "data", "paths.checkpoints", "paths.cache", "serving", "drawing", "launch", "slurm")


def main() -> None:
    train(parse_given(USED, "Train, track and test emotion classifiers: mlflow run . -P name=value, with the names below."))


def train(given: Mapping[str, str]) -> None:
    """Run the experiment that params.yaml and the given settings describe."""
    from ser_mlops.experiments.announcement import announce, announce_trainings
    from ser_mlops.experiments.corpora import corpora_named
    from ser_mlops.experiments.resuming import resolve_settings

    settings = resolve_settings(given)
    announce(settings, "training")
    corpora_named(settings)  # refuses a misspelt one
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        from ser_mlops.tracking.address import check_address

        check_address(uri)
    from ser_mlops.experiments.experiment import prepare  # imports pandas

    experiment = prepare(settings)
    announce_trainings(experiment)
    from ser_mlops.launching.dispatch import check_launch, launch  # imports torch, transformers and MLflow

    fills = check_launch(experiment)
    launch(experiment, fills)


if __name__ == "__main__":
    run_tracked_command("train", main)
