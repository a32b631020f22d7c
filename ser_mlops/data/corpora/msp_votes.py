"""Who voted for what in MSP-Podcast: the file of single annotations beside the label file, in the three forms that releases had.

`labels_detailed.csv` has a row per annotator (FileName, WorkerID, EmoClass_Major, …), `labels_detailed.json` the same nested under the
file's name, and `labels_detailed.txt` blocks of lines: `MSP-PODCAST_0001_0008.wav; N; A:4.0; …`, then `WORKER0000001; Neutral; …`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.corpora.base import find_beside, read_rows
from ser_mlops.errors import DataError

FILES = ("labels_detailed.csv", "labels_detailed.json", "labels_detailed.txt")
MAJOR = ("EmoClass_Major", "EmoClass_Primary")
"""What releases call the emotion that an annotator puts first."""
CODES = {
    "neutral": "N",
    "happy": "H",
    "happiness": "H",
    "sad": "S",
    "sadness": "S",
    "angry": "A",
    "anger": "A",
    "fear": "F",
    "afraid": "F",
    "disgust": "D",
    "disgusted": "D",
    "surprise": "U",
    "surprised": "U",
    "contempt": "C",
}
OTHER = "O"


def read_votes(folder: Path) -> dict[str, Counter[str]]:
    """Return how many annotators chose each code, by file name; empty where the folder has no such file.

    Raises:
        DataError: the file is unreadable, or none of its annotations names an emotion.
    """
    path = find_beside(folder, *FILES)
    if path is None:
        return {}
    votes: dict[str, Counter[str]] = {}
    for name, emotion in {".csv": _in_csv, ".json": _in_json, ".txt": _in_text}[path.suffix](path):
        votes.setdefault(name.strip(), Counter())[code_of(emotion)] += 1
    if not votes:
        raise DataError(f"{path} has no annotation with {MAJOR[0]}, expected those of the release")
    return votes


def code_of(emotion: str) -> str:
    """Return the code of an emotion as annotators spell it; what is none of the eight is other.

    >>> [code_of(emotion) for emotion in ("Happy", " anger", "N", "Other-annoyed")]
    ['H', 'A', 'N', 'O']
    """
    word = emotion.strip()
    return word if word in CODES.values() else CODES.get(word.lower(), OTHER)


def _in_csv(path: Path) -> Iterator[tuple[str, str]]:
    rows = read_rows(path, ("FileName",))
    column = next((name for name in MAJOR if rows and name in rows[0]), None)
    if column is None:
        raise DataError(f"{path} has no column {MAJOR[0]!r}, expected the emotion that each annotator put first")
    return ((row["FileName"], row[column]) for row in rows)


def _in_json(path: Path) -> Iterator[tuple[str, str]]:
    try:
        files = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(files, dict):
        raise DataError(f"{path} holds no files by name, expected {{file: {{annotator: {{{MAJOR[0]}: …}}}}}}")
    return ((name, emotion) for name, annotations in files.items() for emotion in _emotions_in(annotations))


def _emotions_in(annotations: Any) -> Iterator[str]:
    """Yield the emotion of each annotation, however deep it lies."""
    if isinstance(annotations, list):
        for each in annotations:
            yield from _emotions_in(each)
    elif isinstance(annotations, dict):
        named = [annotations[name] for name in MAJOR if name in annotations]
        if named:
            yield str(named[0])
        else:
            yield from _emotions_in(list(annotations.values()))


def _in_text(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text: {error}") from None
    name = ""
    for line in lines:
        fields = [field.strip() for field in line.split(";")]
        if Path(fields[0]).suffix.lower() in AUDIO_SUFFIXES:
            name = fields[0]
        elif name and fields[0].upper().startswith("WORKER") and len(fields) > 1:
            yield name, fields[1]
