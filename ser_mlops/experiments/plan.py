"""Which trainings a command means: for every experiment type, who is trained on, who validates and who is tested.

| experiment_type | trained on | tested on |
|---|---|---|
| indep | `train_datasets` (default: the test corpus alone) | `test_dataset`: its held-out fold if it is also trained on, else all of it |
| cross | `train_datasets` (default: all), each without its fold | the held-out fold of every one of them, each alone and pooled |
| matrix | for each corpus in turn, all the others, whole | the corpus left out, whole |
| grid | each corpus alone | every corpus (itself: its held-out fold) |
| within | each corpus alone, without the fold held out in turn | that fold: every clip is tested once |

Corpora with official partitions are trained on their train part, validated on their validation part (drawn from the train part where
there is none) and always tested on their official test sets, each under a name of its own (MSP_PODCAST_test1). `test_split_source` is
halved into validation and test; with official partitions its validation part validates, and only what lacks one is halved.

The sides are drawn over all clips. Then those outside the space of emotions are left out of each, so that a space changes neither folds nor
who validates.

Only clips with one label are tested. Those without any, on which listeners disagree, are trained and validated on where targets are soft.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ser_mlops.data.frames import NO_FOLD, TEST_PARTS
from ser_mlops.data.selection import within
from ser_mlops.data.splits import check_division, draw_validation, halve
from ser_mlops.emotions import EMOTIONS, SEVEN, Space
from ser_mlops.errors import DataError, SettingsError
from ser_mlops.experiments.corpora import MANY, corpora_of, name_corpora

POOLED = "pooled"
SHARED, PERHAPS_SHARED, APART = SPEAKERS = (
    "speakers shared between train and test",  # under `split: stratified`, or by an official partition
    "no known speaker shared between train and test, but some are unknown on both sides",
    "no speaker shared between train and test",
)
"""From worst to best."""


@dataclass(frozen=True)
class Training:
    """One training: three disjoint sets of clips, as frames. Rounds repeat it with other seeds on the same sets."""

    test_dataset: str
    """What the run is tagged with: the test corpus; `pooled` where several corpora are trained on and tested together."""
    train_datasets: tuple[str, ...]
    trained_on: str
    """The training corpora in words: `CAFE+TESS`, `all but CREMA`."""
    fold: int | None
    """Held-out fold; None where whole corpora or official partitions are tested."""
    train: pd.DataFrame
    validation: pd.DataFrame
    tests: Mapping[str, pd.DataFrame]
    """Test sets by name. Scores are reported for each and, where there are several, over all their clips together."""
    validation_by: Mapping[str, str]
    """Per corpus that validates, what was kept whole: group, text, clip, or part (official)."""
    space: Space = SEVEN
    """The emotions that it tells apart; all sides are frames of these classes."""

    @property
    def name(self) -> str:
        """Name the training within its experiment: `CREMA fold 2`, `CAFE+TESS to CREMA`, `all but CREMA to CREMA`."""
        is_within = self.train_datasets == (self.test_dataset,) and len(self.tests) == 1
        tested = ", ".join(self.tests) if len(self.tests) <= MANY else f"{len(self.tests)} test sets"
        shown = self.test_dataset if is_within else f"{self.trained_on} to {tested}"
        return shown if self.fold is None else f"{shown} fold {self.fold}"

    @property
    def sides(self) -> dict[str, pd.DataFrame]:
        """Its sets of clips by name: `train`, `validation`, and `test CREMA` for each test set."""
        return {"train": self.train, "validation": self.validation, **{f"test {name}": test for name, test in self.tests.items()}}

    @property
    def speakers(self) -> str:
        """What is known about speakers who are on both the training and the test side: one of SPEAKERS."""
        heard = {*self.train["speaker"], *self.validation["speaker"]}
        common = heard & {speaker for test in self.tests.values() for speaker in test["speaker"]}
        if any(not speaker.endswith("/unknown") for speaker in common):
            return SHARED
        return PERHAPS_SHARED if common else APART


@dataclass(frozen=True)
class _Roles:
    """A training before clips are drawn: corpora by role."""

    test_dataset: str
    train: tuple[str, ...]
    tests: tuple[str, ...]
    fold: int | None
    halved: str | None = None
    trained_on: str = ""


def plan_trainings(
    frames: Mapping[str, pd.DataFrame],
    *,
    experiment_type: str,
    train_datasets: Sequence[str],
    test_dataset: str | None,
    test_split_source: str | None,
    fold: int | str,
    validation_share: float,
    seed: int,
    space: Space = SEVEN,
    with_unlabelled: bool = False,
) -> list[Training]:
    """Return the trainings of a command in the order in which they run; `frames` holds the frame of every corpus in use.

    Clips without a label (`num_labels` 0) take part in training and validation `with_unlabelled`, else not at all.

    Raises:
        SettingsError: a corpus that is not in use, a fold that is empty, a parameter that does not go with the experiment type.
        DataError: a group, or identical samples, on two sides; or a side without clips of the space.
    """
    if not with_unlabelled:
        frames = {name: frame[frame["num_labels"] > 0] for name, frame in frames.items()}
    roles = _plan_roles(frames, experiment_type, tuple(train_datasets), test_dataset, test_split_source, fold)
    for name, frame in frames.items():
        if within(frame, space).empty:
            has = ", ".join(emotion for emotion in EMOTIONS if (frame["emotions"] == emotion).any())
            raise DataError(f"{name} has no clip of {space}, expected some of its emotions: {has}")
    return [_restrict(_draw(role, frames, validation_share, seed), space) for role in roles]


def _plan_roles(
    frames: Mapping[str, pd.DataFrame],
    experiment_type: str,
    train: tuple[str, ...],
    test: str | None,
    split_source: str | None,
    fold: int | str,
) -> list[_Roles]:
    corpora_of(tuple(frames), experiment_type, train, test, split_source)
    if len(set(train)) < len(train):
        raise SettingsError(f"train_datasets={','.join(train)} names a corpus twice")
    if experiment_type != "indep":
        for name, value in (("test_dataset", test), ("test_split_source", split_source)):
            if value:
                raise SettingsError(f"{name}={value} goes with experiment_type=indep; {experiment_type} tests what it trains on")
        train = train or tuple(frames)
    if experiment_type in ("cross", "matrix") and len(train) < 2:
        raise SettingsError(f"experiment_type={experiment_type} needs two corpora or more, train_datasets has {', '.join(train)}")
    if experiment_type == "matrix":
        return [
            _Roles(left_out, tuple(name for name in train if name != left_out), (left_out,), None, trained_on=f"all but {left_out}")
            for left_out in train
        ]
    if experiment_type == "within":
        if fold not in (0, "all"):
            raise SettingsError(f"fold={fold}: experiment_type=within holds out every fold in turn, leave fold out")
        return [_Roles(own, (own,), (own,), held_out) for own in train for held_out in _folds_held_out({own: frames[own]}, "all")]
    if experiment_type == "grid":
        return [_Roles(own, (own,), train, held_out) for own in train for held_out in _folds_held_out({own: frames[own]}, fold)]
    if experiment_type == "cross":
        return [_Roles(POOLED, train, train, held_out) for held_out in _folds_held_out({name: frames[name] for name in train}, fold)]
    return _plan_indep(frames, train, test, split_source, fold)


def _plan_indep(
    frames: Mapping[str, pd.DataFrame], train: tuple[str, ...], test: str | None, split_source: str | None, fold: int | str
) -> list[_Roles]:
    if split_source:
        if test not in (None, split_source):
            raise SettingsError(f"test_dataset={test}: with test_split_source={split_source} the test set is half of {split_source}")
        if split_source in train:
            raise SettingsError(f"test_split_source={split_source} is not trained on, take it out of train_datasets")
        train = train or tuple(name for name in frames if name != split_source)
        if not train:
            raise SettingsError(f"test_split_source={split_source} leaves nothing to train on, expected another corpus in train_datasets")
        return [_Roles(split_source, train, (split_source,), None, halved=split_source)]
    assert test is not None
    train = train or (test,)
    if test not in train:
        return [_Roles(test, train, (test,), None)]
    return [_Roles(test, train, (test,), held_out) for held_out in _folds_held_out({test: frames[test]}, fold)]


def _folds_held_out(frames: Mapping[str, pd.DataFrame], fold: int | str) -> list[int | None]:
    """Return the folds to hold out in turn, of those that hold clips of any of these corpora; [None] where all have official partitions."""
    folds = sorted({int(number) for frame in frames.values() for number in frame["fold"].unique()} - {NO_FOLD})
    if not folds:
        return [None]
    if fold == "all":
        return list(folds)
    if fold not in folds:
        raise SettingsError(f"fold={fold}: {', '.join(frames)} has no clips in it, expected one of: {', '.join(map(str, folds))}, all")
    return [int(fold)]


def _has_parts(frame: pd.DataFrame) -> bool:
    return bool((frame["fold"] == NO_FOLD).all())


def _draw(roles: _Roles, frames: Mapping[str, pd.DataFrame], validation_share: float, seed: int) -> Training:
    train = {name: _training_side(name, frames[name], roles) for name in roles.train}
    validation: dict[str, pd.DataFrame] = {}
    tests: dict[str, pd.DataFrame] = {}
    by: dict[str, str] = {}
    if roles.halved:
        name = roles.halved
        validation[name], tests, by[name] = _divide_source(name, frames[name], roles, seed)
    else:
        for name in roles.train:
            train[name], validation[name], by[name] = _divide(name, train[name], validation_share, seed)
        for name in roles.tests:
            tests |= _test_sets(name, frames[name], roles)
    trained, validated = (pd.concat(sides.values(), ignore_index=True) for sides in (train, validation))
    tests = {name: test.reset_index(drop=True) for name, test in tests.items()}
    drawn_by = {name: kept for name, kept in by.items() if kept != "part"}
    check_division(trained, validated, pd.concat(tests.values(), ignore_index=True), drawn_by)
    trained_on = roles.trained_on or name_corpora(roles.train)
    return Training(roles.test_dataset, roles.train, trained_on, roles.fold, trained, validated, tests, by)


def _restrict(training: Training, space: Space) -> Training:
    """Leave the clips outside the space out of every side."""
    if space == SEVEN:
        return training
    train, validation, *tests = (within(side, space).reset_index(drop=True) for side in training.sides.values())
    restricted = replace(training, space=space, train=train, validation=validation, tests=dict(zip(training.tests, tests, strict=True)))
    for side, clips in restricted.sides.items():
        if clips.empty:
            had = training.sides[side]["emotions"].value_counts()
            found = ", ".join(f"{emotion} {count}" for emotion, count in had.items() if count)
            raise DataError(f"{training.name} has no {side} clip of {space}, expected some of what it has: {found}")
    if len(heard := train["emotions"].unique()) < 2:
        raise DataError(f"{training.name}: every training clip is {heard[0]}, expected emotions of which it has two or more")
    return restricted


def _divide(name: str, side: pd.DataFrame, validation_share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Divide what a corpus gives to training: the clips to train on, those to validate on, and what validation kept whole."""
    if side.empty:
        raise DataError(f"{name} has no clips left to train on, expected some besides those that are tested on")
    if not (side["part"] == "validation").any():
        mask, by = draw_validation(side, validation_share, seed)
        return side[~mask], side[mask], by
    if not (side["part"] == "train").any():
        raise DataError(f"{name} has no official training clips, expected some in part train")
    return side[side["part"] == "train"], side[side["part"] == "validation"], "part"


def _divide_source(name: str, frame: pd.DataFrame, roles: _Roles, seed: int) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], str]:
    """Divide a corpus that is not trained on into validation and test sets, and say what validation kept whole.

    An official validation part validates. Without one, what is tested is halved, and no speaker of several official test sets is in both
    halves, though the catalogue makes a group of each part's (`97@test1`).
    """
    if (frame["part"] == "validation").any():
        return frame[frame["part"] == "validation"], _test_sets(name, frame, roles), "part"
    tested = pd.concat(_test_sets(name, frame, roles).values())
    groups = [group.removesuffix(f"@{part}") for group, part in zip(tested["group"], tested["part"], strict=True)]
    validates = halve(tested.assign(group=groups), seed)
    return tested[validates], _test_sets(name, tested[~validates], roles), "group"


def _test_sets(name: str, frame: pd.DataFrame, roles: _Roles) -> dict[str, pd.DataFrame]:
    """Return the test sets that a corpus gives, by name: their clips that have one label."""
    sets = _whole_test_sets(name, frame, roles)
    tested = {test: clips[clips["num_labels"] == 1] for test, clips in sets.items()}
    for test, clips in tested.items():
        if clips.empty:
            raise DataError(f"{test}: none of its {len(sets[test])} clips has one label, which a test needs: listeners disagree about all")
    return tested


def _whole_test_sets(name: str, frame: pd.DataFrame, roles: _Roles) -> dict[str, pd.DataFrame]:
    if _has_parts(frame):
        parts = [part for part in TEST_PARTS if (frame["part"] == part).any()]
        if not parts:
            raise DataError(f"{name} has no official test set, expected clips in one of: {', '.join(TEST_PARTS)}")
        return {name if part == "test" else f"{name}_{part}": frame[frame["part"] == part] for part in parts}
    if name not in roles.train:
        return {name: frame}
    return {name: frame[frame["fold"] == _fold_of(frame, roles.fold)]}


def _training_side(name: str, frame: pd.DataFrame, roles: _Roles) -> pd.DataFrame:
    if _has_parts(frame):
        return frame[~frame["part"].isin(TEST_PARTS)]
    if name not in roles.tests:
        return frame
    return frame[frame["fold"] != _fold_of(frame, roles.fold)]


def _fold_of(frame: pd.DataFrame, fold: int | None) -> int:
    """Return the fold held out of one of several corpora: `fold`, or modulo the number of its folds that hold clips."""
    assert fold is not None
    folds = np.unique(frame["fold"])
    return fold if fold in folds else int(folds[fold % len(folds)])
