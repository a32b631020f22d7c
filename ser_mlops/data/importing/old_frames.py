"""The `D.{CORPUS}_{train,test}_DF.p` pickles of SER notebooks, imported as rows that the catalogue reads instead of file names.

The frames have the columns path, labels, emotions; RAVDESS also gender, calm and the label 7. The rows are `data/imported/<CORPUS>.parquet`
with the columns path, emotion, speaker, gender, part.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePath

import pandas as pd

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.corpora.base import UNKNOWN, Corpus, walk
from ser_mlops.data.corpora.scan import IMPORTED_COLUMNS, path_in_tables
from ser_mlops.data.folders import IMPORTED
from ser_mlops.data.importing.pickles import read_pickle
from ser_mlops.emotions import EMOTIONS, LABELS
from ser_mlops.errors import DataError, one_of
from ser_mlops.files import replacing

PARTS = ("train", "test")
PICKLE_NAME = re.compile(r"D\.(.+)_(train|test)_DF\.p(?:kl)?(?:\.(?:gz|bz2|xz|zip|zst))?", re.IGNORECASE)
GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}
FOUND, MOVED, LOST = "found", "moved", "lost"
RESPELT = "respelt"
"""Found under a name that differs in case or in Unicode form only; counted where there is one."""


def import_frames(folder: Path, raw: Path, corpora: Mapping[str, Corpus], imported: Path = IMPORTED) -> dict[str, dict[str, int]]:
    """Import every pair of pickles in a folder; return per corpus how many files were found, found under another path (moved) and lost.

    Args:
        folder: with `D.{CORPUS}_train_DF.p` and `D.{CORPUS}_test_DF.p`.
        raw: folder with one folder of recordings per corpus; a file that has moved is found by its name.
        corpora: every corpus by name.
        imported: folder to write to.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}, expected one with D.CORPUS_train_DF.p and D.CORPUS_test_DF.p")
    pickles = {(match[1], match[2].lower()): path for path in sorted(folder.iterdir()) if (match := PICKLE_NAME.fullmatch(path.name))}
    names = sorted({name for name, _ in pickles})
    if not names:
        raise DataError(f"no D.CORPUS_train_DF.p in {folder}")
    unknown = [name for name in names if name not in corpora]
    if unknown:
        raise DataError(one_of("corpus", unknown[0], corpora))
    tables = {}
    for name in names:
        missing = [part for part in PARTS if (name, part) not in pickles]
        if missing:
            raise DataError(f"no {folder / f'D.{name}_{missing[0]}_DF.p'}, expected a pair")
        paths = {part: pickles[name, part] for part in PARTS}
        tables[name] = pd.concat([rows_of(read_pickle(path), str(path), corpora[name], part) for part, path in paths.items()])
    counts = {}
    for name, table in tables.items():
        placed, counts[name] = relocate(table, raw, name)
        write_imported(placed, imported / f"{name}.parquet")
    return counts


def rows_of(frame: pd.DataFrame, origin: str, corpus: Corpus, part: str) -> pd.DataFrame:
    """Turn an old frame into imported rows; the emotion decides, and must agree with the label where both are there."""
    missing = [column for column in ("path", "labels") if column not in frame.columns]
    if missing:
        raise DataError(f"{origin}: no column {missing[0]!r}, expected the columns: path, labels, emotions")
    names = [*EMOTIONS, "calm"] if corpus.rule == "calm" else list(EMOTIONS)
    labels = pd.to_numeric(frame["labels"], errors="coerce").fillna(-1).astype("int64")
    emotions = labels.map(dict(enumerate(names)))
    _refuse(frame, emotions.isna(), origin, "labels", f"0 to {len(names) - 1}")
    if "emotions" in frame.columns:
        given = frame["emotions"].astype(str).str.strip().str.lower()
        _refuse(frame, ~given.isin(names), origin, "emotions", f"one of {', '.join(names)}")
        is_calm_as_neutral = (given == "calm") & (labels == LABELS["neutral"])
        _refuse(frame, (given != emotions) & ~is_calm_as_neutral, origin, "emotions", "the emotion of its label")
        emotions = given
    if "calm" in frame.columns and corpus.rule == "calm":
        is_calm = frame["calm"].astype(str).str.strip().str.lower().isin(("true", "1", "1.0", "calm"))
        emotions = emotions.mask(is_calm & (emotions == "neutral"), "calm")
    genders = frame["gender"].astype(str).str.strip().str.lower() if "gender" in frame.columns else pd.Series("", index=frame.index)
    return pd.DataFrame(
        {
            "path": frame["path"].astype(str).str.replace("\\", "/", regex=False),
            "emotion": emotions,
            "speaker": UNKNOWN,
            "gender": genders.map(GENDERS).fillna(UNKNOWN),
            "part": part,
        }
    ).reset_index(drop=True)


def _refuse(frame: pd.DataFrame, offending: "pd.Series[bool]", origin: str, column: str, expected: str) -> None:
    if offending.any():
        row = frame[offending.to_numpy()].iloc[0]
        raise DataError(f"{origin}: {column} {str(row[column])!r} of {row['path']!r} ({offending.sum()} such), expected {expected}")


def relocate(table: pd.DataFrame, raw: Path, corpus: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Replace old paths by those in the raw folder: of the files with the same name, take the one that shares most folders.

    Raises:
        DataError: no file is found, or two files share the name and as many folders.
    """
    folder = raw / corpus
    if not folder.is_dir():
        raise DataError(f"no folder {folder}, expected the recordings that the imported frames name")
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    by_spelling: defaultdict[str, list[str]] = defaultdict(list)
    for file in walk(folder):
        if file.suffix.lower() in AUDIO_SUFFIXES:
            for files, name in ((by_name, file.name), (by_spelling, _folded(file.name))):
                files[name].append(path_in_tables(file.relative_to(raw).as_posix()))
    counts = dict.fromkeys((FOUND, MOVED, LOST), 0)
    paths = []
    for old in table["path"]:
        name = PurePath(old).name
        path = nearest(old, by_name[name] or by_spelling[_folded(name)])
        if path is not None and not by_name[name]:
            counts[RESPELT] = counts.get(RESPELT, 0) + 1
        counts[LOST if path is None else FOUND if f"/{old}".endswith(f"/{path}") else MOVED] += 1
        paths.append(path or f"{corpus}/{PurePath(old).name}")
    if counts[LOST] == len(table):
        raise DataError(f"none of the {len(table)} imported clips of {corpus} is in {folder}")
    return table.assign(path=paths), counts


def _folded(name: str) -> str:
    """Return one spelling for names that some file systems hold to be the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def nearest(old: str, candidates: list[str]) -> str | None:
    """Return the candidate that shares most of its last folders with the old path, or None if there are no candidates.

    >>> nearest("/home/me/SAVEE/DC/sa01.wav", ["SAVEE/AudioData/DC/sa01.wav", "SAVEE/AudioData/JE/sa01.wav"])
    'SAVEE/AudioData/DC/sa01.wav'
    """
    if len(candidates) < 2:
        return candidates[0] if candidates else None

    def shared(path: str) -> int:
        pairs = list(zip(reversed(old.split("/")), reversed(path.split("/")), strict=False))
        return next((place for place, (one, other) in enumerate(pairs) if one != other), len(pairs))

    most = max(map(shared, candidates))
    best = sorted(path for path in candidates if shared(path) == most)
    if most < 2 and len(best) > 1:
        raise DataError(f"{old!r} may be any of: {', '.join(best)}")
    return best[0]


def write_imported(table: pd.DataFrame, path: Path) -> None:
    """Write imported rows, one per file.

    Raises:
        DataError: a file has two emotions, or is on two sides of the split.
    """
    table = table[list(IMPORTED_COLUMNS)].drop_duplicates().sort_values("path", ignore_index=True)
    twice = table[table["path"].duplicated(keep=False)]
    if not twice.empty:
        first = twice[twice["path"] == twice["path"].iloc[0]]
        sides = "; ".join(f"{row.emotion} in {row.part}" for row in first.itertuples())
        raise DataError(f"{first['path'].iloc[0]!r} is imported twice ({sides}), expected one emotion and one side per file")
    with replacing(path) as aside:
        table.astype("str").to_parquet(aside, index=False)
