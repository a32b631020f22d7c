"""Scan a corpus's folder: every audio file with what its name says, or the reason it is left out. Nothing is decoded.

The catalogue applies the label rules to it, and lists every file that is a clip for the audio stage, whatever the rules. A corpus
with imported frames takes emotions and partitions from them instead of from names.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from ser_mlops.data.audio.format import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from ser_mlops.data.corpora.base import UNKNOWN, Clip, Corpus, NotAClip, Table, walk
from ser_mlops.data.folders import IMPORTED
from ser_mlops.data.frames import GENDERS, PARTS
from ser_mlops.data.progress import progress
from ser_mlops.errors import DataError, one_of

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")
IMPORTED_COLUMNS = ("path", "emotion", "speaker", "gender", "part")

MERGED_INTO = {"calm": "neutral", "contempt": "disgust"}
"""The emotion that older frames give to clips which a rule of a corpus is about."""


@dataclass(frozen=True)
class Found:
    """One audio file, or one label row without its file."""

    path: str
    """Relative to the raw folder, corpus folder first, forward slashes; bytes that are not UTF-8 are written %8A."""
    file: Path
    """The path on disk; read the file through this, not through `path`."""
    clip: Clip | None
    """None: left out by its name."""
    emotion: str
    """What the emotion table says of the clip's code, before any rule: one of EMOTIONS, or "calm", "contempt", "other"."""
    reason: str
    """Why it is left out; "" where there is a clip."""
    is_imported: bool = False
    """Whether its emotion is that of an imported frame, which label rules about listeners leave as it is."""


@dataclass(frozen=True)
class Scan:
    """A corpus's folder."""

    found: list[Found]
    other_files: dict[str, int]
    """Files without an audio suffix, by suffix."""


def scan(raw: Path, corpus: Corpus, imported: Path = IMPORTED) -> Scan:
    """Walk `raw/CORPUS` and parse the name of every audio file, in the order of paths.

    Args:
        raw: folder with one folder per corpus.
        corpus: which one.
        imported: folder that may hold `CORPUS.parquet`, the rows of imported frames.

    Raises:
        DataError: the folder is missing, or holds no clip; the message says what was expected in it.
    """
    folder = raw / corpus.name
    if not folder.is_dir():
        raise DataError(f"no folder {folder}, expected files such as {folder / corpus.layout}")
    rows = read_imported(imported, corpus.name)
    table = {} if rows is not None and corpus.lists_clips else _read_table(corpus, folder)
    audio: list[Path] = []
    others: Counter[str] = Counter()
    for file in walk(folder):
        if file.suffix.lower() in AUDIO_SUFFIXES:
            audio.append(file)
        else:
            others[path_in_tables(file.suffix.lower() or file.name)] += 1
    with progress(len(audio), f"{corpus.name}: reading names", "file") as bar:
        found = []
        for file in audio:
            found.append(_parse(file, folder, corpus, table))
            bar.update()
    if rows is not None:
        found = _take_imported(found, raw, rows, corpus.rule)
    elif corpus.lists_clips:
        stems = {item.file.stem for item in found}
        found += [_missing(f"{corpus.name}/{stem}", raw, "label row without audio") for stem in table if stem not in stems]
    found = sorted(_leave_out_copies(found), key=lambda item: item.path)
    if all(item.clip is None for item in found):
        reasons = Counter(item.reason for item in found).most_common(5)
        archives = [suffix for suffix in ARCHIVES if others[suffix]]
        packed = f", but archives to unpack: {', '.join(archives)}" if archives else ""
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons) or f"no audio file{packed}"
        raise DataError(f"no clip of {corpus.name} in {folder} ({counts}), expected files such as {folder / corpus.layout}")
    return Scan(found, dict(sorted(others.items())))


def read_imported(folder: Path, corpus: str) -> dict[str, dict[str, str]] | None:
    """Return the imported rows of a corpus by path, or None where nothing was imported (see the package importing)."""
    path = folder / f"{corpus}.parquet"
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path, columns=list(IMPORTED_COLUMNS))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable ({error}), expected the columns: {', '.join(IMPORTED_COLUMNS)}") from error
    return {row["path"]: row for row in table.astype(str).to_dict("records")}


def path_in_tables(path: str) -> str:
    """Return a relative path as tables store it: UTF-8 with forward slashes.

    >>> path_in_tables(os.fsdecode(b"CAFE/Col\\x8are/01-C-1-1.wav"))
    'CAFE/Col%8Are/01-C-1-1.wav'
    """
    return re.sub(r"[\udc80-\udcff\\]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", path.replace(os.sep, "/"))


def _read_table(corpus: Corpus, folder: Path) -> Table:
    try:
        return corpus.read_table(folder)
    except DataError:
        raise
    except Exception as error:  # as for parse, below
        raise DataError(f"{corpus.name}: read_table fails on {folder} ({type(error).__name__}: {error})") from error


def _parse(file: Path, folder: Path, corpus: Corpus, table: Table) -> Found:
    inside = file.relative_to(folder).as_posix()
    path = path_in_tables(f"{corpus.name}/{inside}")
    if file.name.startswith("._"):
        return Found(path, file, None, "", "AppleDouble stub")
    try:
        clip = corpus.parse(PurePosixPath(inside), table)
    except NotAClip as reason:
        return Found(path, file, None, "", str(reason))
    except Exception as error:  # parsers of own corpora are other people's code: say which file they fail on
        raise DataError(f"{corpus.name}: parse fails on {path!r} ({type(error).__name__}: {error})") from error
    _check_clip(clip, path)
    if clip.code not in corpus.emotions:
        return Found(path, file, None, "", f"unknown emotion code {clip.code!r}")
    return Found(path, file, clip, corpus.emotions[clip.code], "")


def _check_clip(clip: object, path: str) -> None:
    """Raise DataError, naming the file, if a parser's clip would break the frame later."""
    if not isinstance(clip, Clip):
        raise DataError(f"parse returns {clip!r} for {path!r}, expected a Clip, or NotAClip raised")
    for name, value in vars(clip).items():
        if name != "votes" and not isinstance(value, str):
            raise DataError(f"{name} of {path!r} is {value!r}, expected text")
    if not isinstance(clip.votes, Mapping) or not all(type(number) is int and number >= 0 for number in clip.votes.values()):
        raise DataError(f"votes of {path!r} is {clip.votes!r}, expected numbers of listeners by what they heard: {{'angry': 7, 'sad': 3}}")
    for name in ("code", "speaker", "recording", "language"):
        if not getattr(clip, name):
            raise DataError(f"{name} of {path!r} is empty, expected text{f' ({UNKNOWN!r} if nobody knows)' if name == 'speaker' else ''}")
    for name, accepted in (("gender", GENDERS), ("part", ("", *PARTS))):
        if getattr(clip, name) not in accepted:
            raise DataError(f"{path!r}: {one_of(name, getattr(clip, name), filter(None, accepted))}")


def _missing(path: str, raw: Path, reason: str) -> Found:
    return Found(path, raw / path, None, "", reason)


def _take_imported(found: list[Found], raw: Path, rows: dict[str, dict[str, str]], rule: str) -> list[Found]:
    taken = [
        _imported_clip(item, rows[item.path], rule) if item.path in rows else replace(item, clip=None, emotion="", reason="not imported")
        for item in found
    ]
    there = {item.path for item in found}
    return taken + [_missing(path, raw, "imported row without audio") for path in rows if path not in there]


def _imported_clip(item: Found, row: dict[str, str], rule: str) -> Found:
    """Take emotion and partition from the imported row; speaker and gender where it has them, the rest from the name.

    Where a name says what the corpus's rule is about (calm, contempt), and the row holds what that was merged into, the rule decides.
    """
    is_merged = item.emotion == rule and row["emotion"] == MERGED_INTO.get(rule)
    emotion = rule if is_merged else row["emotion"]
    clip = item.clip or Clip(code="", speaker=UNKNOWN, recording=item.path)
    speaker, gender = (row[column] if row[column] != UNKNOWN else getattr(clip, column) for column in ("speaker", "gender"))
    clip = replace(clip, code=emotion, part=row["part"], speaker=speaker, gender=gender)
    return replace(item, clip=clip, emotion=emotion, reason="", is_imported=True)


def _leave_out_copies(found: list[Found]) -> list[Found]:
    """Of files that hold one recording keep the largest, so that a stub or a 16 kHz copy never displaces the original; video comes last."""
    by_recording: defaultdict[str, list[Found]] = defaultdict(list)
    for item in found:
        if item.clip is not None:
            by_recording[item.clip.recording].append(item)
    kept = {recording: min(items, key=_best_first) for recording, items in by_recording.items() if len(items) > 1}
    return [
        replace(item, clip=None, emotion="", reason=f"copy of {kept[item.clip.recording].path}")
        if item.clip is not None and item.clip.recording in kept and item is not kept[item.clip.recording]
        else item
        for item in found
    ]


def _best_first(item: Found) -> tuple[bool, int, str]:
    is_media = item.file.suffix.lower() in MEDIA_SUFFIXES
    return (is_media, -item.file.stat().st_size if item.file.is_file() else 0, item.path)
