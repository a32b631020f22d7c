"""Import experiments that `export_runs` wrote into the tracking store in use: entry point `import_runs`."""

from pathlib import Path

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(
        ["import_runs", "paths.checkpoints"], "Import experiments: mlflow run . -e import_runs -P archive=experiments.zip"
    )
    from ser_mlops.experiments.exchange import conduct_import

    conduct_import(settings.import_runs.archive, Path(settings.paths.checkpoints))


if __name__ == "__main__":
    run_tracked_command("import_runs", main)
