"""Bring into the tracking store what jobs and earlier commands have left on disk for it: entry point `sync`."""

from pathlib import Path

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(["paths.checkpoints"], "Bring records that wait on disk into the tracking store: mlflow run . -e sync")
    from ser_mlops.launching.syncing import conduct_sync

    conduct_sync(Path(settings.paths.checkpoints))


if __name__ == "__main__":
    run_tracked_command("sync", main)
