"""The files of a corpus to decode: a JSON object that maps the path in tables to the path on disk, written with the catalogue.

The audio stage knows nothing else about a corpus. So neither a label rule nor a change to a corpus's module makes it decode again, as long
as the same files are clips. File names that are not valid text survive: JSON escapes their lone surrogates.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from ser_mlops.errors import DataError
from ser_mlops.files import write_text


def write_listing(files: Iterable[tuple[str, Path]], path: Path) -> None:
    """Write files, each given by its path in tables and its path on disk."""
    write_text(path, json.dumps({name: str(file) for name, file in files}, indent=0) + "\n")


def read_listing(path: Path) -> list[tuple[str, Path]]:
    """Read the files, in the order in which they were written."""
    if not path.is_file():
        raise DataError(f"no {path}: run `dvc repro`")
    return [(name, Path(file)) for name, file in json.loads(path.read_text(encoding="utf-8")).items()]
