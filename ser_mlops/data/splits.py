"""Divide clips into folds, validation and halves, groups kept whole; and check that no group is on two sides.

Everything here is a function of the clips and a seed: row order, machine and library versions do not matter. One rule deals groups
to sides everywhere (`_deal`): the largest group first, each to the side where it adds least to

    sum over sides b and strata s of  n[b, s]^2 / (total[s] * share[b]),

where the strata are the emotions, and the emotions of each gender. The sum is least where every side has its share of every stratum.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ser_mlops.data.frames import NO_FOLD
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.seeds import derive

MIN_UNITS = 3
"""Validation by group needs so many groups: with two (TESS), one held out would be half of the training clips."""
TEST_FOLD, TRAIN_FOLD = 0, 1
"""The two folds of `split: stratified`."""


def divide(
    table: pd.DataFrame, split: str, num_folds: int, fold_table: Mapping[str, int], test_ratio: float, seed: int
) -> tuple[pd.Series, np.ndarray]:
    """Return the group and the fold of every clip of a corpus.

    Official partitions win (fold NO_FOLD). Otherwise `split` decides: "groups", or "stratified", where each clip is a group of its own.
    """
    has_part = table["part"] != ""
    if has_part.all():
        return table["group"], np.full(len(table), NO_FOLD)
    if has_part.any() or num_folds == 0:
        raise DataError(f"clip {table.loc[~has_part, 'path'].iloc[0]!r} has no official part, expected one for every clip of its corpus")
    if split == "stratified":
        return table["path"], stratified_folds(table, test_ratio, seed)
    return table["group"], assign_folds(table, num_folds, seed, fold_table)


def assign_folds(table: pd.DataFrame, num_folds: int, seed: int, fold_table: Mapping[str, int] | None = None) -> np.ndarray:
    """Return the fold (0 to num_folds - 1) of every clip, groups kept whole and balanced by emotion and gender.

    `table` has the columns labels, gender, speaker and group. `fold_table` gives the folds that the protocol fixes,
    by speaker without the corpus; the other groups are dealt around them. With fewer groups than folds some folds stay empty.
    """
    group_names, groups = np.unique(table["group"].to_numpy(str), return_inverse=True)
    fixed: dict[int, int] = {}
    for speaker, group in sorted(set(zip(table["speaker"], groups, strict=True))):
        fold = (fold_table or {}).get(speaker.partition("/")[2])
        if fold is not None and fixed.setdefault(group, fold) != fold:
            raise DataError(f"group {group_names[group]!r}: speaker {speaker!r} belongs to fold {fold}, others to fold {fixed[group]}")
    folds = _deal(_strata_counts(table, groups), _order(table, seed, "folds", "group"), np.full(num_folds, 1 / num_folds), fixed)
    return folds[groups]


def stratified_folds(table: pd.DataFrame, test_ratio: float, seed: int) -> np.ndarray:
    """Return the folds of the old rule: of each emotion a share of the clips in fold 0 (test), the rest in fold 1; speakers ignored.

    `table` has the columns path and labels.
    """
    folds = np.full(len(table), TRAIN_FOLD)
    labels, paths = table["labels"].to_numpy(), table["path"].to_numpy(str)
    for label in np.unique(labels):
        clips = sorted(np.flatnonzero(labels == label), key=lambda clip: derive(seed, "stratified", paths[clip]))
        folds[clips[: round(test_ratio * len(clips))]] = TEST_FOLD
    return folds


def draw_validation(frame: pd.DataFrame, share: float, seed: int) -> tuple[np.ndarray, str]:
    """Draw a share of one training corpus for validation, balanced like folds: at least one unit, and never all.

    Returns a mask over the clips, and what was kept whole: "group"; "text" where there are fewer than MIN_UNITS groups (TESS with one
    actress held out); "clip" where texts are too few as well. Clips without a text are then a unit each.
    """
    if len(frame) < 2:
        raise DataError(f"{_corpora(frame)}: {len(frame)} clip left to train on, expected at least 2 to take validation from")
    texts = frame["text"].where(frame["text"] != "", frame["path"])
    units = {"group": frame["group"], "text": texts, "clip": frame["path"]}
    by = next((by for by, unit in units.items() if unit.nunique() >= MIN_UNITS), "clip")
    table = frame.assign(unit=units[by])
    return _take(table, share, _order(table, seed, "validation", "unit")), by


def halve(frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Halve the groups of a corpus, balanced like folds: a mask that is True for validation and False for test."""
    if frame["group"].nunique() < 2:
        raise DataError(f"{_corpora(frame)}: all clips belong to group {frame['group'].iloc[0]!r}, expected two groups to halve")
    table = frame.assign(unit=frame["group"])
    return _take(table, 0.5, _order(table, seed, "halves", "unit"))


def check_division(train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame, by: Mapping[str, str]) -> None:
    """Raise DataError, naming the offender, where a group or identical samples are on two sides.

    `by` says per corpus what `draw_validation` kept whole: training and validation may share groups, but then no text, where it was
    "text", and anything but the clip itself where it was "clip". Corpora that it does not name count as "group".
    """
    _refuse_shared("group", train, "training", test, "test")
    _refuse_shared("group", validation, "validation", test, "test")
    kept_whole = validation["corpus"].map(by).fillna("group")
    _refuse_shared("group", train, "training", validation[kept_whole == "group"], "validation")
    for corpus in validation.loc[kept_whole == "text", "corpus"].unique():
        sides = [side[(side["corpus"] == corpus) & (side["text"] != "")] for side in (train, validation)]
        _refuse_shared("text", sides[0], "training", sides[1], "validation")
    for column in ("path", "sha256"):
        _refuse_shared(column, train, "training", validation, "validation")
        _refuse_shared(column, train, "training", test, "test")
        _refuse_shared(column, validation, "validation", test, "test")


def _refuse_shared(column: str, one: pd.DataFrame, one_name: str, other: pd.DataFrame, other_name: str) -> None:
    shared = one[column].isin(other[column])
    if shared.any():
        clip = one[shared].iloc[0]
        twin = other[other[column] == clip[column]].iloc[0]
        raise DataError(f"{column} {clip[column]!r} is on two sides: {clip['path']} in {one_name}, {twin['path']} in {other_name}")


def _take(table: pd.DataFrame, share: float, order: np.ndarray) -> np.ndarray:
    units = np.unique(table["unit"].to_numpy(str), return_inverse=True)[1]
    taken = _deal(_strata_counts(table, units), order, np.array([share, 1 - share]), {}) == 0
    if taken.all() or not taken.any():
        taken[order[-1]] = not taken[order[-1]]
    return taken[units]


def _order(table: pd.DataFrame, seed: int, purpose: str, column: str) -> np.ndarray:
    """Order the sorted names of a column: the most clips first, ties by hash."""
    names, sizes = np.unique(table[column].to_numpy(str), return_counts=True)
    return np.array(sorted(range(len(names)), key=lambda unit: (-sizes[unit], derive(seed, purpose, str(names[unit])))))


def _strata_counts(table: pd.DataFrame, units: np.ndarray) -> np.ndarray:
    """Count the clips of each unit (rows) in each stratum that occurs: every emotion, and every emotion of a gender."""
    genders, gender = np.unique(table["gender"].to_numpy(str), return_inverse=True)
    labels = table["labels"].to_numpy()
    counts = np.zeros((units.max() + 1, len(EMOTIONS), len(genders)))
    np.add.at(counts, (units, labels, gender), 1)
    strata = np.concatenate([counts.sum(axis=2), counts.reshape(len(counts), -1)], axis=1)
    return strata[:, strata.any(axis=0)]


def _deal(counts: np.ndarray, order: np.ndarray, shares: np.ndarray, fixed: Mapping[int, int]) -> np.ndarray:
    """Return the side of each unit; see the module's docstring. An empty side of the largest share is always filled first."""
    weights = counts / counts.sum(axis=0)
    dealt = np.zeros((len(shares), counts.shape[1]))
    sides = np.empty(len(counts), dtype=np.int64)
    for unit in [*fixed, *(unit for unit in order if unit not in fixed)]:
        added = (2 * dealt @ weights[unit] + counts[unit] @ weights[unit]) / shares
        filled = dealt.sum(axis=1) / shares
        best = np.lexsort((filled.round(9), added.round(9)))[0]  # rounded: sums that are equal must not differ in their last bit
        sides[unit] = fixed.get(unit, best)
        dealt[sides[unit]] += counts[unit]
    return sides


def _corpora(frame: pd.DataFrame) -> str:
    return ", ".join(sorted(frame["corpus"].unique())) or "no corpus"
