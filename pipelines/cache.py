"""List or clear the outputs of frozen parts under paths.cache. `python -m pipelines.cache clear --corpus CREMA`"""

import argparse
from pathlib import Path

from ser_mlops.commands import run_command
from ser_mlops.files import size_in_words
from ser_mlops.settings.reading import read_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.cache", description="List or clear the outputs of frozen parts that are kept in the folder paths.cache."
    )
    parser.add_argument("action", nargs="?", choices=("list", "clear"), default="list")
    parser.add_argument("--corpus", help="only the caches of this corpus")
    arguments = parser.parse_args()
    folder = Path(read_settings().paths.cache)
    from ser_mlops.training.cache_folder import clear_cache, list_caches

    entries = [entry for entry in list_caches(folder) if arguments.corpus in (None, entry.name.partition("-")[0])]
    for entry in entries:
        label, num_bytes = entry.label, entry.num_bytes
        what = f"{label['clips']} clips of {label['corpus']}, {label['mode']}, {label['precision']}" if label else "unfinished"
        note = "" if arguments.action == "list" else ", removed" if clear_cache(entry) else ", in use: left alone"
        print(f"{entry.name}  {size_in_words(num_bytes)}  {what}{note}")
    where = f"cleared from {folder}" if arguments.action == "clear" else f"in {folder}"
    print(f"{len(entries) or 'no'} cache{'s' * (len(entries) != 1)} {where}")


if __name__ == "__main__":
    run_command(main)
