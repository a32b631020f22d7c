"""List what takes disk space, by experiment, and free what is named. `python -m pipelines.space free models:RUN_ID --keep best --yes`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.errors import SettingsError
from ser_mlops.files import size_in_words
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(description="List what takes disk space, by experiment; free what is named.")
    parser.add_argument("action", nargs="?", choices=("list", "free"), default="list")
    parser.add_argument("what", nargs="*", help="models:RUN_ID, checkpoints:RUN_ID (of an experiment, the parent run), deleted")
    parser.add_argument("--keep", choices=("best", "none"), default="none", help="of models: best spares the round best on validation")
    parser.add_argument("--yes", action="store_true", help="free it; without, it is only said what would be lost")
    arguments = parser.parse_args()
    if (arguments.action == "free") != bool(arguments.what):
        raise SettingsError("expected `list`, or `free` and what: models:RUN_ID, checkpoints:RUN_ID or deleted")
    paths = read_settings().paths
    from ser_mlops.experiments.disk import free, listing, losses
    from ser_mlops.tracking.recovery import bring_all

    bring_all(Path(paths.checkpoints))
    if arguments.action == "list":
        print(listing(paths))
        return
    found = losses(arguments.what, arguments.keep, paths)
    for loss in found:
        print(loss.text, flush=True)
    print(f"freed {size_in_words(free(found))}" if arguments.yes else "nothing is freed yet: add --yes")


if __name__ == "__main__":
    run_command(main)
