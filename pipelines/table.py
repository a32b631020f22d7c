"""Lay experiments out by their test sets: entry point `table`, logged as a run of its own."""

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["table", "drawing", "paths.checkpoints"], "Lay experiments out by test sets: mlflow run . -e table -P runs=ID,ID"
    )
    from pathlib import Path

    from ser_mlops.experiments.overview import conduct_overview
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(settings.paths.checkpoints))
    conduct_overview(settings.table, Path(settings.paths.checkpoints), settings.drawing.figures)


if __name__ == "__main__":
    run_tracked_command("table", main)
