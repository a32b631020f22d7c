"""Bring into the tracking store what jobs, earlier commands and experiments without a server have left on disk: entry point `sync`."""

from pathlib import Path

from ser_mlops.commands import parse_arguments
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(["sync", "paths.checkpoints"], "Bring what waits on disk into the tracking store: mlflow run . -e sync")
    checkpoints = Path(settings.paths.checkpoints)
    if settings.sync.offline is not None:
        from ser_mlops.experiments.offline import conduct_offline_sync

        conduct_offline_sync(Path(settings.sync.offline), settings.sync, checkpoints)
        return
    from ser_mlops.launching.syncing import conduct_sync

    conduct_sync(checkpoints)


if __name__ == "__main__":
    run_tracked_command("sync", main)
