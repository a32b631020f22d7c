"""Run a finished experiment again from its record and say whether every number is equal: entry point `reproduce`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> int:
    settings = parse_arguments(["reproduce", "paths"], "Run an experiment again: mlflow run . -e reproduce -P run_id=ID")
    chosen = settings.reproduce
    if chosen.run_id is None:
        raise SettingsError("run_id is not given, expected the id of a finished experiment (the parent run)")
    from pathlib import Path

    from ser_mlops.experiments.reproduction import reproduce
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(settings.paths.checkpoints))
    return reproduce(chosen.run_id, paths=settings.paths, force=chosen.force)


if __name__ == "__main__":
    run_tracked_command("reproduce", main)
