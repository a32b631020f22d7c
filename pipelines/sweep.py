"""Sweep settings with Optuna: entry point `sweep`, every trial a child run in MLflow."""

from ser_mlops.commands import parse_given
from ser_mlops.settings.reading import read_settings
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    description = "Search lr, weight decay, …: mlflow run . -e sweep -P name=value, with the names below."
    given = parse_given(["sweep", "train", "data", "paths", "launch", "slurm"], description)
    from ser_mlops.experiments.experiment import prepare
    from ser_mlops.experiments.sweep import prepare_sweep
    from ser_mlops.launching.dispatch import check_sweep_launch, launch_sweep

    settings = read_settings(given=given)
    sweep = prepare_sweep(prepare(settings), settings.sweep)
    fills = check_sweep_launch(sweep)
    launch_sweep(sweep, fills)


if __name__ == "__main__":
    run_tracked_command("sweep", main)
