"""Which clips of a corpus can be used: the catalogue joined with the audio index, defects and duplicates resolved, everything counted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_mlops.data.audio.defects import defect_in
from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.corpora.base import UNKNOWN
from ser_mlops.data.folders import catalogue_file, index_file, left_out_file
from ser_mlops.data.frames import GENDERS
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError

LEFT_OUT_COLUMNS = ("path", "reason", "twin")
DUPLICATE = "duplicate samples"
WITHOUT_LABEL = "not one label"
"""Clips on which listeners disagree."""
CONTRADICTION = "duplicate samples with another label"


def read_catalogue(corpus: str) -> pd.DataFrame:
    """Read the catalogue of a corpus."""
    return pd.read_parquet(_existing(catalogue_file(corpus)))


def read_index(corpus: str) -> pd.DataFrame:
    """Read the index of a corpus's audio file."""
    return pd.read_parquet(_existing(index_file(corpus)))


def read_left_out(corpus: str) -> pd.DataFrame:
    """Read the list of the files of a corpus that are not in its frame."""
    return pd.read_csv(_existing(left_out_file(corpus)), dtype="str", keep_default_na=False)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"no {path}: run `dvc repro`")
    return path


def resolve_defects(catalogue: pd.DataFrame, index: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the clips that can be used, and the files left out.

    Of clips with identical samples and one label the first by path is kept; with contradictory labels none is.

    Returns:
        The rows of the catalogue that are kept, with their columns of the index, in the order of paths; and a table of path, reason and
        twin (the file that a copy or duplicate equals, else ""), in the order of paths.

    Raises:
        DataError: a clip of the catalogue is not in the index.
    """
    named = catalogue["reason"] == ""
    unheard = catalogue.loc[named & ~catalogue["path"].isin(index["path"]), "path"]
    if not unheard.empty:
        raise DataError(f"{unheard.iloc[0]!r} is in the catalogue, not in the audio index: run `dvc repro`")
    by_name = catalogue.loc[~named, ["path", "reason"]]
    copies = by_name["reason"].str.extract(r"^(copy) of (.*)$").fillna("")
    by_name = by_name.assign(reason=by_name["reason"].where(copies[0] == "", copies[0]), twin=copies[1])

    clips = catalogue[named].merge(index, on="path", validate="one_to_one").sort_values("path", ignore_index=True)
    by_audio = clips.loc[clips["defect"] != "", ["path", "defect"]].rename(columns={"defect": "reason"}).assign(twin="")
    clips = clips[clips["defect"] == ""]
    duplicates = _duplicates(clips)
    kept = clips[~clips["path"].isin(duplicates["path"])]
    left_out = pd.concat([by_name, by_audio, duplicates]).sort_values("path")
    return kept.reset_index(drop=True), left_out[list(LEFT_OUT_COLUMNS)].astype("str").reset_index(drop=True)


def _duplicates(clips: pd.DataFrame) -> pd.DataFrame:
    """List the clips, in the order of paths, whose samples another clip has too, except for those that stay."""
    same = clips.groupby("sha256", sort=False)
    is_contradicted = same["labels"].transform("nunique") > 1
    first = same["path"].transform("first")
    last = same["path"].transform("last")
    repeats = clips["path"] != first
    twin = first.where(repeats, last)
    reason = np.where(is_contradicted, CONTRADICTION, DUPLICATE)
    return clips.assign(reason=reason, twin=twin).loc[is_contradicted | repeats, list(LEFT_OUT_COLUMNS)]


@dataclass(frozen=True)
class Quality:
    """Counts of one corpus; found = kept + left out."""

    found: int
    """Audio files and, in a corpus with label rows, rows without audio."""
    kept: int
    left_out: dict[str, int]
    """By reason."""
    warnings: dict[str, int]
    """Kept clips by what is odd about them; and 1 where the number of clips differs from the release."""
    rules: dict[str, int]
    """Clips that a label rule changed or left out, by rule."""
    other_files: dict[str, int]
    """Files without an audio suffix, by suffix."""
    clips: int
    """Files that are clips of the corpus by their names, kept or not."""
    release_clips: int
    """The same in the official release; 0 where releases differ."""
    speakers: int
    """Known speakers of the kept clips."""
    hours: float
    """Length of the kept clips."""


def count_quality(catalogue: pd.DataFrame, index: pd.DataFrame, left_out: pd.DataFrame, frame: pd.DataFrame, release_clips: int) -> Quality:
    """Count one corpus from the tables of its stages."""
    warned = index.loc[index["path"].isin(frame["path"]), "warnings"].str.split(", ").explode()
    warnings = _counts(warned[warned != ""])
    if release_clips and len(index) != release_clips:
        warnings["number of clips unlike the release"] = 1
    return Quality(
        found=len(catalogue),
        kept=len(frame),
        left_out=_counts(left_out["reason"].map(defect_in)),
        warnings=warnings,
        rules=_counts(catalogue.loc[catalogue["rule"] != "", "rule"]),
        other_files=dict(catalogue.attrs.get("other_files", {})),
        clips=len(index),
        release_clips=release_clips,
        speakers=int(known_speakers(frame).nunique()),
        hours=round(int(frame["num_samples"].sum()) / SAMPLE_RATE / 3600, 4),
    )


def refuse_empty(kept: pd.DataFrame, left_out: pd.DataFrame, folder: Path) -> None:
    """Raise DataError, naming the folder and the commonest reasons, if no clip is kept."""
    if kept.empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in list(_counts(left_out["reason"].map(defect_in)).items())[:5])
        raise DataError(f"no usable clip in {folder}: {reasons}")


def class_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Count per fold (or official part): clips by emotion in class order (and those without one label) and in all, by gender; speakers."""
    side = frame["part"].where(frame["part"] != "", frame["fold"].astype("str"))
    has_one = frame["num_labels"] == 1
    counts = pd.crosstab(side, frame["emotions"].where(has_one)).reindex(index=np.unique(side), columns=list(EMOTIONS), fill_value=0)
    counts.columns = counts.columns.astype("str")
    if not has_one.all():
        counts[WITHOUT_LABEL] = (~has_one).groupby(side).sum()
    counts["clips"] = counts.sum(axis=1)
    for gender, clips in pd.crosstab(side, frame["gender"]).reindex(columns=list(GENDERS), fill_value=0).items():
        counts["unknown gender" if gender == UNKNOWN else str(gender)] = clips
    counts["speakers"] = known_speakers(frame).groupby(side).nunique().reindex(counts.index, fill_value=0)
    return counts.rename_axis("fold").rename_axis(None, axis=1).reset_index()


def known_speakers(frame: pd.DataFrame) -> "pd.Series[str]":
    """Return the speaker of each clip, missing where nobody knows who speaks."""
    return frame["speaker"].mask(frame["speaker"].str.endswith(f"/{UNKNOWN}"))


def speaker_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """List the speakers with their gender, fold (or official parts), clips and seconds."""
    side = frame["part"].where(frame["part"] != "", frame["fold"].astype("str"))
    speakers = frame.assign(side=side).groupby("speaker")
    return speakers.agg(
        gender=("gender", lambda genders: " ".join(sorted(set(genders)))),
        fold=("side", lambda sides: " ".join(sorted(set(sides)))),
        clips=("path", "size"),
        samples=("num_samples", "sum"),
    ).reset_index()


def _counts(values: "pd.Series[str]") -> dict[str, int]:
    """Count values, the commonest first, ties by name."""
    return {str(value): int(count) for value, count in sorted(values.value_counts().items(), key=lambda item: (-item[1], item[0]))}
