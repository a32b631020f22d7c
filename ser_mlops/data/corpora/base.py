"""What a corpus module provides: facts, an emotion table and a pure parser of file names.

The *file name* decides, never a folder, whose spelling, nesting and accents vary between distributions (SAVEE alone names its speakers
in folders).
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ser_mlops.errors import DataError

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Clip:
    """One audio file as its corpus describes it, before anything is decoded."""

    code: str
    """The corpus's own emotion code ("ANG", "02", "dis"); the emotion table and the rules turn it into an emotion."""
    speaker: str
    """Speaker id within the corpus ("1001"); UNKNOWN where it is not known."""
    recording: str
    """Id of the recording within the corpus: files that share one are copies (a doubled tree, another rate or format)."""
    gender: str = UNKNOWN
    language: str = "en"
    text: str = ""
    """Sentence or word id, where the corpus has one."""
    scene: str = ""
    """Clips that share a scene are never separated by a split, like the clips of a speaker: an EMOFILM scene with its dubs."""
    part: str = ""
    """Official partition: train, validation, test, test1, test2; empty where the corpus has none."""
    perceived: str = ""
    """What most listeners heard: a code of the emotion table, several joined by colons where they lead together, TIE where it is not known
    which, "" where `votes` says it or nobody was asked."""
    votes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How many listeners heard what: codes of the emotion table, or emotions; other names count as other emotions."""


TIE = "tie"
VOTES_FOR = "votes for "
"""Before a code, the key of a table's row that holds the number of its votes."""


class NotAClip(Exception):
    """A file that is not one of the corpus's speech clips; the message is the reason it is left out."""


Table = Mapping[str, Mapping[str, str]]
"""Facts in files beside the audio, by key: demographics by actor, label rows by file stem. Empty where there are none."""


def no_table(folder: Path) -> Table:
    """Return the empty table, for corpora whose names say everything."""
    return {}


@dataclass(frozen=True)
class Corpus:
    """One collection."""

    name: str
    title: str
    language: str
    num_files: int
    """Clips in the official release, to warn about a copy that holds another number; 0 where releases differ."""
    num_speakers: int
    """Speakers in the official release; 0 where releases differ."""
    licence: str
    source: str
    citation: str
    layout: str
    """An example of a path inside the corpus's folder, for the message about a folder without clips."""
    emotions: Mapping[str, str]
    """The corpus's code -> one of EMOTIONS, or another name ("calm", "contempt", "other") that a rule maps or leaves out."""
    num_folds: int
    """0: official partitions instead of folds."""
    parse: Callable[[PurePosixPath, Table], Clip]
    """Parse a path relative to the corpus's folder (suffix included). Raises NotAClip with the reason."""
    read_table: Callable[[Path], Table] = no_table
    """Read the facts beside the audio from the corpus's folder."""
    lists_clips: bool = False
    """Whether the table has one row per clip, so that a row without its audio file is counted as left out."""
    fold_table: Mapping[str, int] = field(default_factory=dict)
    """speaker -> fold, where the protocol names actors; if empty, folds are balanced over groups."""
    rule: str = ""
    """The setting of the catalogue that applies to this corpus: calm, contempt or labels (which needs its files of votes)."""
    votes_files: tuple[str, ...] = ()
    """Where its releases say what listeners heard: first the file with the votes, then one with the majority alone."""


def with_votes(votes: Mapping[str, int]) -> dict[str, str]:
    """Return votes by code as cells of a table's row; `votes_in` reads them."""
    return {f"{VOTES_FOR}{code}": str(number) for code, number in votes.items()}


def votes_in(row: Mapping[str, str]) -> dict[str, int]:
    """Return the votes by code that a row of a table holds.

    >>> votes_in({"gender": "female"} | with_votes({"ANG": 7, "NEU": 3}))
    {'ANG': 7, 'NEU': 3}
    """
    return {key.removeprefix(VOTES_FOR): int(number) for key, number in row.items() if key.startswith(VOTES_FOR)}


def majority_of(votes: Mapping[str, int]) -> str:
    """Return the code with most votes, TIE where several have as many, "" where nobody voted."""
    most = max(votes.values(), default=0)
    first, *others = [code for code, number in votes.items() if number == most] if most else [""]
    return TIE if others else first


def walk(folder: Path) -> Iterator[Path]:
    """Yield every file of a folder, in the same order on every machine. Links are followed once; dot folders are yielded, not entered."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        seen.add(os.path.realpath(place))
        yield from (Path(place, name) for name in sorted(folders) if name.startswith("."))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in seen
        )
        yield from (Path(place, name) for name in sorted(files))


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}")


def find_beside(folder: Path, *names: str) -> Path | None:
    """Return the first file of one of these names, anywhere in the folder: names in order, then the path nearest to the folder."""
    found = [path for path in walk(folder) if path.name in names]
    return min(found, key=lambda path: (names.index(path.name), len(path.parts), str(path)), default=None)


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read a csv file as text, "NA" and empty cells included, and require these columns.

    A first column without a name (row names, as R writes them) is called ""; commas at the end of rows are ignored.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)] or [[]]
    except FileNotFoundError:
        raise DataError(f"there is no file {path}, expected a csv file with the columns: {', '.join(columns)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a csv file in UTF-8 ({error.reason} at {error.start:,}): save it again in that encoding") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} is not a readable csv file: {error}") from None
    names = [name.strip() for name in header]
    missing = [column for column in columns if column not in names]
    if missing:
        separator = next((sign for sign in (";", "\t") if len(names) == 1 and sign in names[0]), None)
        there = f"its cells are separated by {separator!r}, not by commas" if separator else f"it has {', '.join(names) or 'none'}"
        raise DataError(f"{path} has no column {missing[0]!r}, expected the columns: {', '.join(columns)} ({there})")
    for row in rows:
        if any(cell.strip() for cell in row[len(names) :]):
            raise DataError(f"{path}: the row of {row[0]!r} has {len(row)} cells, expected {len(names)}")
    named = [(place, name) for place, name in enumerate(names) if name or place == 0]
    return [{name: row[place] if place < len(row) else "" for place, name in named} for row in rows]
