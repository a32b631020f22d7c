"""Divide clips into folds, validation and halves, groups kept whole; and check that no group is on two sides.

Everything here is a function of the clips and a seed: row order, machine and library versions do not matter. One rule divides groups
everywhere (`_deal`, then `_exchange`): each group in turn goes to the side where it adds least to

    sum over sides b and strata s of  n[b, s]^2 / (total[s] * share[b]),

where the strata are all clips (weighed SIZE_WEIGHT times), the genders, the emotions, and the emotions of each gender. The sum is least
where every side has its share of every stratum. Then the move of a group, or the exchange of two, that lowers the sum most is made,
repeatedly. Folds are dealt with the largest group first and exchanged until nothing helps. Validation and halves are dealt in an order that
the seed draws, so that every group can be in them, and few exchanges are made, so that seeds differ. 40 speakers of 20 to 59 clips, 15 %
for validation, 12 seeds, three such corpora: 12 sets of 12 in each (largest first: 1, 8 and 4), the share off by 0.0015 on average
(0.0031), the worst emotion by 0.016 (0.028), women by 0.013 (0.023).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, count

import numpy as np
import pandas as pd

from ser_mlops.data.frames import NO_FOLD
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.seeds import derive

MIN_UNITS = 3
"""Validation by group needs so many groups: with two (TESS), one held out would be half of the training clips."""
UNITS_PER_EXCHANGE = 12
"""For validation and halves: more exchanges would lead every seed to the same few sets where there are few groups."""
SIZE_WEIGHT = 5
"""Of all clips among the strata."""
MAX_EXCHANGED = 2000
"""More units than this are only dealt: so many are balanced without, and all pairs would not fit into memory."""
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
    counts, shares = _strata_counts(table, groups), np.full(num_folds, 1 / num_folds)
    order = _largest_first(table, seed)
    folds = _deal(counts, order, shares, fixed)
    _exchange(counts, [group for group in order if group not in fixed], shares, folds)
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
    return _take(table, share, seed, "validation"), by


def halve(frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Halve the groups of a corpus, balanced like folds: a mask that is True for validation and False for test."""
    if frame["group"].nunique() < 2:
        raise DataError(f"{_corpora(frame)}: all clips belong to group {frame['group'].iloc[0]!r}, expected two groups to halve")
    table = frame.assign(unit=frame["group"])
    return _take(table, 0.5, seed, "halves")


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
        advice = ""
        if clip["corpus"] != twin["corpus"]:
            corpora = f"leave {clip['corpus']} or {twin['corpus']} out"
            advice = f": the same recording is in two corpora, {corpora}, or remove it from one and run `dvc repro`"
        raise DataError(f"{column} {clip[column]!r} is on two sides: {clip['path']} in {one_name}, {twin['path']} in {other_name}{advice}")


def _take(table: pd.DataFrame, share: float, seed: int, purpose: str) -> np.ndarray:
    """Return a mask over the clips: the units that are taken for a share of them, at least one, never all."""
    names, units = np.unique(table["unit"].to_numpy(str), return_inverse=True)
    counts, shares = _strata_counts(table, units), np.array([share, 1 - share])
    drawn = sorted(range(len(names)), key=lambda unit: derive(seed, purpose, str(names[unit])))
    sides = _deal(counts, drawn, shares, {})
    _exchange(counts, drawn, shares, sides, most=len(names) // UNITS_PER_EXCHANGE)
    return (sides == 0)[units]


def _largest_first(table: pd.DataFrame, seed: int) -> list[int]:
    """Order the sorted names of the groups: the most clips first, ties by hash."""
    names, sizes = np.unique(table["group"].to_numpy(str), return_counts=True)
    return sorted(range(len(names)), key=lambda group: (-sizes[group], derive(seed, "folds", str(names[group]))))


def _strata_counts(table: pd.DataFrame, units: np.ndarray) -> np.ndarray:
    """Count the clips of each unit (rows) in each stratum that occurs: all, every gender, every emotion, every emotion of a gender."""
    genders, gender = np.unique(table["gender"].to_numpy(str), return_inverse=True)
    labels = table["labels"].to_numpy()
    counts = np.zeros((units.max() + 1, len(EMOTIONS), len(genders)))
    np.add.at(counts, (units, labels, gender), 1)
    strata = np.concatenate(
        [SIZE_WEIGHT * counts.sum(axis=(1, 2))[:, None], counts.sum(axis=1), counts.sum(axis=2), counts.reshape(len(counts), -1)], axis=1
    )
    return strata[:, strata.any(axis=0)]


def _deal(counts: np.ndarray, order: Sequence[int], shares: np.ndarray, fixed: Mapping[int, int]) -> np.ndarray:
    """Return the side of each unit, dealt in order. A side that would stay empty takes one of the last units."""
    weights = counts / counts.sum(axis=0)
    dealt = np.zeros((len(shares), counts.shape[1]))
    sides = np.empty(len(counts), dtype=np.int64)
    for position, unit in enumerate(turns := [*fixed, *(unit for unit in order if unit not in fixed)]):
        added = (2 * dealt @ weights[unit] + counts[unit] @ weights[unit]) / shares
        filled = dealt.sum(axis=1) / shares
        is_empty = filled == 0
        if is_empty.sum() >= len(turns) - position:
            added = np.where(is_empty, added, np.inf)
        best = np.lexsort((filled.round(9), added.round(9)))[0]  # rounded: sums that are equal must not differ in their last bit
        sides[unit] = fixed.get(unit, best)
        dealt[sides[unit]] += counts[unit]
    return sides


def _exchange(counts: np.ndarray, movable: Sequence[int], shares: np.ndarray, sides: np.ndarray, most: int | None = None) -> None:
    """Move units to another side, or exchange two, as long as that lowers the sum, at `most` so often; no side is emptied.

    `sides` is changed in place. A unit that moves is exchanged for a unit of no clips, which every side has.
    """
    if len(movable) > MAX_EXCHANGED or len(shares) < 2:
        return
    free = np.array(movable, dtype=np.int64)
    nobody = len(counts)
    counts = np.concatenate([counts, np.zeros((1, counts.shape[1]))])
    weighted = counts / counts.sum(axis=0)
    products = weighted @ counts.T
    squares = np.diag(products)
    for _ in count() if most is None else range(most):
        dealt = np.array([counts[:nobody][sides == side].sum(axis=0) for side in range(len(shares))])
        pulls = 2 * weighted @ (dealt / shares[:, None]).T
        found = []
        for one, other in combinations(range(len(shares)), 2):
            leaving, coming = (np.append(free[sides[free] == side], nobody) for side in (one, other))
            steeper = pulls[:, one] - pulls[:, other]
            distance = squares[leaving][:, None] + squares[coming] - 2 * products[np.ix_(leaving, coming)]
            change = steeper[coming] - steeper[leaving][:, None] + distance * (1 / shares[one] + 1 / shares[other])
            if (sides == one).sum() == 1:
                change[:-1, -1] = np.inf
            if (sides == other).sum() == 1:
                change[-1, :-1] = np.inf
            place = np.unravel_index(change.round(9).argmin(), change.shape)
            found.append((change[place].round(9), leaving[place[0]], coming[place[1]], one, other))
        change, leaving, coming, one, other = min(found, key=lambda exchange: exchange[0])
        if change >= 0:
            return
        sides[[unit for unit in (leaving,) if unit != nobody]] = other
        sides[[unit for unit in (coming,) if unit != nobody]] = one


def _corpora(frame: pd.DataFrame) -> str:
    return ", ".join(sorted(frame["corpus"].unique())) or "no corpus"
