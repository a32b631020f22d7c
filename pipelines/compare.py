"""Compare experiments over speakers and rounds: entry point `compare`, logged as a run of its own."""

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["compare", "drawing", "paths.checkpoints"], "Compare two or more experiments: mlflow run . -e compare -P runs=ID,ID"
    )
    from pathlib import Path

    from ser_mlops.experiments.comparison import conduct_comparison
    from ser_mlops.tracking.recovery import bring_all

    chosen = settings.compare
    bring_all(Path(settings.paths.checkpoints))
    conduct_comparison(chosen.runs, chosen.tag, chosen.seed, chosen.resamples, Path(settings.paths.checkpoints), settings.drawing.figures)


if __name__ == "__main__":
    run_tracked_command("compare", main)
