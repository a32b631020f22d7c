"""Which files of a corpus are to be decoded: a JSON object from path in tables to place on disk, written with the catalogue.

The audio stage knows nothing else of a corpus, so that neither a label rule nor a change to a corpus's module decodes anything anew as
long as the same files are clips. File names that are no text survive: JSON escapes their lone surrogates.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from ser_mlops.errors import DataError
from ser_mlops.files import write_text


def write_listing(files: Iterable[tuple[str, Path]], path: Path) -> None:
    """Write files, each given by its path in tables and its place on disk."""
    write_text(path, json.dumps({name: str(file) for name, file in files}, indent=0) + "\n")


def read_listing(path: Path) -> list[tuple[str, Path]]:
    """Read the files back in their order."""
    if not path.is_file():
        raise DataError(f"no {path}: run `dvc repro`")
    return [(name, Path(file)) for name, file in json.loads(path.read_text(encoding="utf-8")).items()]
