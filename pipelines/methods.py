"""Write the methods paragraph of an experiment and the entries that it cites from its record: entry point `methods`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(["methods"], "Write the methods paragraph of an experiment: mlflow run . -e methods -P run_id=ID")
    if settings.methods.run_id is None:
        raise SettingsError("run_id is not given, expected the id of a finished experiment (the parent run)")
    from pathlib import Path

    from ser_mlops.experiments.methods import conduct_methods
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(settings.paths.checkpoints))
    conduct_methods(settings.methods.run_id)


if __name__ == "__main__":
    run_tracked_command("methods", main)
