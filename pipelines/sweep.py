"""Sweep settings with Optuna: entry point `sweep`, every trial a child run in MLflow."""

from ser_mlops.commands import parse_given
from ser_mlops.settings.fields import searched
from ser_mlops.settings.reading import read_settings
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    description = "Search lr, weight decay, …: mlflow run . -e sweep -P name=value, with the names below."
    given = parse_given(["sweep", "train", "baseline", "data", "paths", "drawing", "launch", "slurm"], description)
    from ser_mlops.experiments.announcement import announce, announce_trainings

    settings = read_settings(given=given)
    announce(settings, f"sweep of {settings.sweep.trials} trials over {', '.join(searched(settings))}")
    from ser_mlops.experiments.experiment import prepare  # imports pandas

    experiment = prepare(settings)
    announce_trainings(experiment)
    from ser_mlops.experiments.sweep import prepare_sweep  # imports Optuna
    from ser_mlops.launching.sweep_dispatch import check_sweep_launch, launch_sweep  # imports torch, transformers and MLflow

    sweep = prepare_sweep(experiment, settings.sweep)
    fills = check_sweep_launch(sweep)
    launch_sweep(sweep, fills)


if __name__ == "__main__":
    run_tracked_command("sweep", main)
