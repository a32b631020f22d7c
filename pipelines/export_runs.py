"""Export experiments to a zip or a folder that another tracking store can import: entry point `export_runs`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(["export_runs"], "Export experiments: mlflow run . -e export_runs -P runs=ID,ID -P output=experiments.zip")
    from ser_mlops.experiments.exchange import conduct_export

    conduct_export(settings.export_runs)


if __name__ == "__main__":
    run_tracked_command("export_runs", main)
