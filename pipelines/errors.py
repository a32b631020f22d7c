"""Show which clips an experiment gets wrong, whose they are, and what changes from seed to seed: entry point `errors`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["errors", "drawing", "paths.checkpoints"], "Show the errors of an experiment: mlflow run . -e errors -P run_id=ID"
    )
    chosen = settings.errors
    if chosen.run_id is None:
        raise SettingsError("run_id is not given, expected the id of a finished experiment (the parent run) or of one of its rounds")
    from pathlib import Path

    from ser_mlops.experiments.mistakes import conduct_errors
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(settings.paths.checkpoints))
    conduct_errors(chosen.run_id, chosen.top, Path(settings.paths.checkpoints), settings.drawing.figures)


if __name__ == "__main__":
    run_tracked_command("errors", main)
