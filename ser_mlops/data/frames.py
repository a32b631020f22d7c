"""The DataFrame of a corpus: its schema, checked wherever a frame is read or written.

One row per clip, stored as parquet:

| column | type | what |
|---|---|---|
| path | str | relative to the raw folder, forward slashes |
| labels | int64 | 0 to 6, the label of `emotions` |
| emotions | category | one of EMOTIONS, categories in class order |
| corpus | str | CREMA |
| speaker | str | CREMA/1001, `CREMA/unknown` where nobody knows |
| gender | str | female, male or unknown |
| language | str | ISO 639-1 code: en |
| text | str | sentence or word id; empty where the corpus has none |
| group | str | clips that may never be separated by a split |
| fold | int64 | 0, 1, …; -1 in a corpus with official partitions |
| part | str | official partition: train, validation, test, test1, test2; empty in a corpus with folds |
| start | int64 | first sample in the corpus's audio file |
| num_samples | int64 | at 16 kHz |
| sha256 | str | of the decoded int16 samples |
| num_labels | int64 | emotions that count as its label: 1, or another number where listeners disagree (docs/labels.md) |
| votes_neutral … votes_surprise | int64 | listeners who heard each of EMOTIONS; 0 where nobody was asked |
| votes_other | int64 | listeners who heard something else |
| num_votes | int64 | all of them |
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ser_mlops.emotions import EMOTIONS, VOTES
from ser_mlops.errors import DataError
from ser_mlops.files import replacing

COLUMNS = {
    "path": "str",
    "labels": "int64",
    "emotions": "category",
    "corpus": "str",
    "speaker": "str",
    "gender": "str",
    "language": "str",
    "text": "str",
    "group": "str",
    "fold": "int64",
    "part": "str",
    "start": "int64",
    "num_samples": "int64",
    "sha256": "str",
    "num_labels": "int64",
    **dict.fromkeys((*VOTES, "num_votes"), "int64"),
}
GENDERS = ("female", "male", "unknown")
TEST_PARTS = ("test", "test1", "test2")
PARTS = ("train", "validation", *TEST_PARTS)
NO_FOLD = -1


def conform(table: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Return the table with the schema's columns, order and types, checked; see `check`.

    A table without votes gets zeros, one without `num_labels` a label for every clip.
    """
    table = table.assign(**{column: 0 for column in VOTES if column not in table.columns})
    table = table if "num_labels" in table.columns else table.assign(num_labels=1)
    table = table.assign(num_votes=table[list(VOTES)].sum(axis=1))
    missing = [column for column in COLUMNS if column not in table.columns and column != "emotions"]
    if missing:
        raise DataError(f"{origin}: no column {missing[0]!r}, expected the columns: {', '.join(COLUMNS)}")
    frame = table.copy()
    if not frame["labels"].isin(range(len(EMOTIONS))).all():
        _refuse(frame, ~frame["labels"].isin(range(len(EMOTIONS))), "labels", f"a label from 0 to {len(EMOTIONS) - 1}", origin)
    frame["emotions"] = pd.Categorical.from_codes(frame["labels"].astype("int64"), categories=list(EMOTIONS))
    frame = frame[list(COLUMNS)].astype({name: kind for name, kind in COLUMNS.items() if kind != "category"})
    frame = frame.reset_index(drop=True)
    check(frame, origin)
    return frame


def check(frame: pd.DataFrame, origin: str) -> None:
    """Raise DataError, naming the column and the first offending clip, if the frame breaks the schema."""
    if list(frame.columns) != list(COLUMNS):
        raise DataError(f"{origin}: columns {', '.join(map(str, frame.columns))}; expected exactly: {', '.join(COLUMNS)}")
    for column, kind in COLUMNS.items():
        if str(frame[column].dtype) != kind:
            raise DataError(f"{origin}: column {column!r} is {frame[column].dtype}, expected {kind}")
    if list(frame["emotions"].cat.categories) != list(EMOTIONS):
        raise DataError(f"{origin}: emotions {', '.join(frame['emotions'].cat.categories)}; expected {', '.join(EMOTIONS)}")
    if frame.empty:
        raise DataError(f"{origin}: no clips")
    for column in COLUMNS:
        _refuse(frame, frame[column].isna(), column, "a value", origin)
    _refuse(frame, frame["emotions"].cat.codes.to_numpy() != frame["labels"], "labels", "the label of its emotion", origin)
    _refuse(frame, frame["path"].duplicated(), "path", "a path that no other clip has", origin)
    _refuse(
        frame,
        frame["path"].str.startswith("/") | frame["path"].str.contains("\\", regex=False),
        "path",
        "a relative path with forward slashes",
        origin,
    )
    _refuse(frame, ~frame["gender"].isin(GENDERS), "gender", f"one of {', '.join(GENDERS)}", origin)
    _refuse(frame, ~frame["part"].isin(("", *PARTS)), "part", f"empty or one of {', '.join(PARTS)}", origin)
    _refuse(frame, (frame["fold"] == NO_FOLD) != (frame["part"] != ""), "fold", f"a fold, or {NO_FOLD} and an official part", origin)
    _refuse(frame, frame["fold"] < NO_FOLD, "fold", "0 or more", origin)
    _refuse(frame, frame["start"] < 0, "start", "0 or more", origin)
    _refuse(frame, frame["num_samples"] <= 0, "num_samples", "more than 0", origin)
    _refuse(frame, ~frame["sha256"].str.fullmatch("[0-9a-f]{64}"), "sha256", "64 hex digits", origin)
    for column in VOTES:
        _refuse(frame, frame[column] < 0, column, "0 or more", origin)
    _refuse(frame, frame["num_labels"] < 0, "num_labels", "0 or more", origin)
    was_heard = frame[list(VOTES[: len(EMOTIONS)])].any(axis=1)
    _refuse(frame, (frame["num_labels"] != 1) & ~was_heard, "num_labels", "1 where nobody heard one of the seven emotions", origin)
    _refuse(frame, frame["num_votes"] != frame[list(VOTES)].sum(axis=1), "num_votes", "the sum of its votes", origin)
    for column in ("corpus", "speaker", "group", "language"):
        _refuse(frame, frame[column] == "", column, "a value", origin)


def _refuse(frame: pd.DataFrame, offending: "pd.Series[bool] | np.ndarray", column: str, expected: str, origin: str) -> None:
    offending = np.asarray(offending, dtype=bool)
    if offending.any():
        row = frame.iloc[int(offending.argmax())]
        value = f"{row[column]}" if frame[column].dtype.kind in "if" else repr(row[column])
        raise DataError(f"{origin}: {column} {value} of clip {row['path']!r} ({offending.sum()} such), expected {expected}")


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Check a frame and write it, whole or not at all."""
    check(frame, str(path))
    with replacing(path) as aside:
        frame.to_parquet(aside, index=False)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a frame and check it."""
    if not path.is_file():
        raise DataError(f"no frame at {path}: run `dvc repro`")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable frame ({error}): run `dvc repro`") from error
    check(frame, str(path))
    return frame
