"""The scores of a test (or validation) set: one table of definitions, computed over all clips of the set with a fixed label list.

N clips, E emotions (all seven, or the classes of another space), V = E + 1 counts of votes, G sets of clips, F = 2 * E * E + 1 sums, 4 more
where there are votes. Every score is a function of *sums* over the clips of a set: the confusion counts over all emotions, the confusion
counts over the shared emotions (those that both training and test have), the loss, and the totals of `distributions`. Sums add up and can
be subtracted, so a set without one speaker, or with two models' answers swapped, is scored by the same definitions.

- uar: mean recall over the emotions present in the set (balanced accuracy, "UA"); argmax over all E.
- uar_shared: the same over the clips whose emotion both training and test have, argmax restricted to those emotions;
  chance: 1 / their number.
- accuracy: share of clips that are right ("WA").
- f1_macro, f1_weighted: F1 per emotion present in the set, averaged plainly or by support. The label list is that of the set, whatever
  was predicted, so a model cannot change what it is averaged over.
- recall/<emotion>: per emotion present in the set.
- loss: mean cross-entropy over clips, in nats, unweighted and without smoothing.
- js_divergence, cross_entropy, cosine: means over the clips that have votes, of which there need be none; see `distributions`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt

import numpy as np
from scipy.special import log_softmax

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.distributions import COSINE, CROSS_ENTROPY, JS_DIVERGENCE, WITH_VOTES, distances

NONE_SHARED = np.array([], dtype=np.int64)


def num_classes_of(sums: np.ndarray) -> int:
    """Return E of sums [..., F], which hold two squares of it and few other numbers."""
    return isqrt(sums.shape[-1] // 2)


def _loss(sums: np.ndarray) -> int:
    """Return the place of the loss among the sums; the totals of `distributions` follow it."""
    return 2 * num_classes_of(sums) ** 2


def _confusion(sums: np.ndarray, *, is_shared: bool = False) -> np.ndarray:
    """Return the confusion counts [..., E, E], true labels in rows; those over the shared emotions where `is_shared`."""
    count = num_classes_of(sums)
    first = count**2 if is_shared else 0
    return sums[..., first : first + count**2].reshape(*sums.shape[:-1], count, count)


def _supports(sums: np.ndarray, *, is_shared: bool = False) -> np.ndarray:
    return _confusion(sums, is_shared=is_shared).sum(axis=-1)


def _recalls(sums: np.ndarray, *, is_shared: bool = False) -> np.ndarray:
    """Return the recalls [..., E]; that of an emotion without clips is nan."""
    counts = _confusion(sums, is_shared=is_shared)
    return np.diagonal(counts, axis1=-2, axis2=-1) / counts.sum(axis=-1)


def _f1s(sums: np.ndarray) -> np.ndarray:
    """Return F1 by emotion [..., E]; that of an emotion without clips is 0."""
    counts, support = _confusion(sums), _supports(sums)
    return np.where(support > 0, 2 * np.diagonal(counts, axis1=-2, axis2=-1) / (support + counts.sum(axis=-2)), 0)


def _over_present(values: np.ndarray, sums: np.ndarray, *, is_shared: bool = False) -> np.ndarray:
    """Return the mean over the emotions that have clips."""
    present = _supports(sums, is_shared=is_shared) > 0
    return np.where(present, values, 0).sum(axis=-1) / present.sum(axis=-1)


def _per_clip(total: np.ndarray, sums: np.ndarray) -> np.ndarray:
    return total / _supports(sums).sum(axis=-1)


def _uar(sums: np.ndarray, *, is_shared: bool = False) -> np.ndarray:
    return _over_present(_recalls(sums, is_shared=is_shared), sums, is_shared=is_shared)


def _clips(sums: np.ndarray) -> np.ndarray:
    return _supports(sums).sum(axis=-1, keepdims=True)


def _of_votes(sums: np.ndarray, total: int) -> np.ndarray:
    """Return one of the totals [...] of clips with votes."""
    return sums[..., _loss(sums) + 1 + total]


def _with_votes(sums: np.ndarray) -> np.ndarray:
    return _of_votes(sums, WITH_VOTES)[..., None]


def _per_clip_with_votes(total: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sums: _of_votes(sums, total) / _of_votes(sums, WITH_VOTES)


@dataclass(frozen=True)
class Metric:
    """A score: how it follows from the sums [..., F] of a set, and where it is shown."""

    of: Callable[[np.ndarray], np.ndarray]
    supports: Callable[[np.ndarray], np.ndarray] = _clips
    """The clips [..., C] of the C classes that the score is a mean over: all clips as one class, or those of every emotion."""
    needs_training: bool = False
    """It depends on which emotions the training clips have: it cannot choose an epoch, and is left out where the sides share none."""
    needs_votes: bool = False
    """It compares with what listeners heard: it is left out where no clip of the set has votes, and cannot choose an epoch."""
    lower_is_better: bool = False
    is_bounded: bool = True
    """It is never above 1."""
    in_tables: bool = True
    """A column of the tables of rounds, of the matrix and of the model card."""
    in_summary: bool = True
    """A line of the summary that an experiment prints."""


METRICS = {
    "uar": Metric(_uar, _supports),
    "uar_shared": Metric(partial(_uar, is_shared=True), partial(_supports, is_shared=True), needs_training=True),
    "chance": Metric(lambda sums: 1 / (_supports(sums, is_shared=True) > 0).sum(axis=-1), needs_training=True, in_summary=False),
    "accuracy": Metric(lambda sums: _per_clip(np.trace(_confusion(sums), axis1=-2, axis2=-1), sums)),
    "f1_macro": Metric(lambda sums: _over_present(_f1s(sums), sums), _supports),
    "f1_weighted": Metric(lambda sums: _per_clip((_f1s(sums) * _supports(sums)).sum(axis=-1), sums), in_tables=False, in_summary=False),
    "loss": Metric(lambda sums: _per_clip(sums[..., _loss(sums)], sums), lower_is_better=True, is_bounded=False, in_summary=False),
    "js_divergence": Metric(_per_clip_with_votes(JS_DIVERGENCE), _with_votes, needs_votes=True, lower_is_better=True),
    "cross_entropy": Metric(_per_clip_with_votes(CROSS_ENTROPY), _with_votes, needs_votes=True, lower_is_better=True, is_bounded=False),
    "cosine": Metric(_per_clip_with_votes(COSINE), _with_votes, needs_votes=True),
}
"""Every score but the recalls. The lists below follow from it; the setting `select_by` names the selectable ones and a test compares."""
SELECTABLE = tuple(name for name, metric in METRICS.items() if not (metric.needs_training or metric.needs_votes))
VOTE_SCORES = tuple(name for name, metric in METRICS.items() if metric.needs_votes)
LOWER_IS_BETTER = frozenset(name for name, metric in METRICS.items() if metric.lower_is_better)
UNBOUNDED = frozenset(name for name, metric in METRICS.items() if not metric.is_bounded)
TABLE_SCORES = tuple(name for name, metric in METRICS.items() if metric.in_tables)
SUMMARY_SCORES = tuple(name for name, metric in METRICS.items() if metric.in_summary)
RECALL = "recall/"


def score(
    logits_NE: np.ndarray,
    labels_N: np.ndarray,
    trained_labels: Collection[int],
    emotions: Sequence[str] = EMOTIONS,
    votes_NV: np.ndarray | None = None,
) -> dict[str, float]:
    """Return every score of a test (or validation) set; definitions in the module's docstring.

    `trained_labels` are the labels that the training clips have, `emotions` the names of the classes. Where the two sides share no
    emotion, `uar_shared` and `chance` are left out. `votes_NV` are the votes of listeners; without them the scores of distributions are
    left out.

    >>> logits = np.log(np.array([[8, 1, 1, 1, 1, 1, 1], [1, 8, 1, 1, 1, 1, 1], [8, 1, 1, 1, 1, 1, 1]]))
    >>> scores = score(logits, np.array([0, 1, 1]), {0, 1})
    >>> scores["uar"], scores["chance"], round(scores["accuracy"], 3)
    (0.75, 0.5, 0.667)
    """
    logits_NE = np.asarray(logits_NE, dtype=np.float64)
    labels_N = np.asarray(labels_N)
    assert len(labels_N) > 0
    assert logits_NE.shape == (len(labels_N), len(emotions))
    shared = shared_labels(labels_N, trained_labels)
    sums = sums_of(logits_NE, labels_N, shared, np.zeros(len(labels_N), dtype=np.int64), 1, votes_NV)[0]
    names = score_names(labels_N, shared, emotions, with_chance=True, with_votes=votes_NV is not None)
    return dict(zip(names, map(float, scores_of(sums, names, emotions)), strict=True))


def shared_labels(labels_N: np.ndarray, trained_labels: Collection[int]) -> np.ndarray:
    """Return the labels that both the set and the training clips have."""
    return np.intersect1d(labels_N, np.fromiter(trained_labels, dtype=np.int64))


def score_names(
    labels_N: np.ndarray, shared: np.ndarray, emotions: Sequence[str] = EMOTIONS, *, with_chance: bool = False, with_votes: bool = False
) -> list[str]:
    """Return the scores that a set with these labels has; chance, which no answer changes, only where it is asked for."""
    plain = [
        name for name, metric in METRICS.items() if (len(shared) or not metric.needs_training) and (with_votes or not metric.needs_votes)
    ]
    recalls = [f"{RECALL}{emotions[label]}" for label in np.unique(labels_N)]
    return [name for name in plain if name != "chance" or with_chance] + recalls


def comparable_scores(sums: np.ndarray) -> tuple[str, ...]:
    """Return the scores that two experiments over the clips of sums [..., F] can be compared in."""
    return SELECTABLE + VOTE_SCORES * (sums.shape[-1] > _loss(sums) + 1)


def sums_of(
    logits_NE: np.ndarray,
    labels_N: np.ndarray,
    shared: np.ndarray,
    sets_N: np.ndarray,
    num_sets: int,
    votes_NV: np.ndarray | None = None,
) -> np.ndarray:
    """Return the sums [G, F] of every set of clips, by the set that each clip is in."""

    def add_up(values_N: np.ndarray) -> np.ndarray:
        # numpy's own sum rounds less than bincount, which adds clip by clip
        return values_N.sum(keepdims=True) if num_sets == 1 else np.bincount(sets_N, weights=values_N, minlength=num_sets)

    losses_N = -log_softmax(logits_NE, axis=1)[np.arange(len(labels_N)), labels_N]
    every = np.arange(logits_NE.shape[1])
    counts = [_confusions(logits_NE, labels_N, among, sets_N, num_sets) for among in (every, shared)]
    totals = [] if votes_NV is None else [add_up(totals_N) for totals_N in distances(logits_NE, votes_NV).T]
    return np.column_stack([*counts, add_up(losses_N), *totals])


def _confusions(logits_NE: np.ndarray, labels_N: np.ndarray, among: np.ndarray, sets_N: np.ndarray, num_sets: int) -> np.ndarray:
    """Return [G, E * E]: the confusion counts of each set's clips that have one of the labels, argmax restricted to these."""
    count, kept = logits_NE.shape[1], np.isin(labels_N, among)
    if not kept.any():
        return np.zeros((num_sets, count**2))
    predicted = among[logits_NE[kept][:, among].argmax(axis=1)]
    cells = (sets_N[kept] * count + labels_N[kept]) * count + predicted
    return np.bincount(cells, minlength=num_sets * count**2).reshape(num_sets, count**2)


def scores_of(sums: np.ndarray, names: Sequence[str], emotions: Sequence[str] = EMOTIONS) -> np.ndarray:
    """Return [M, ...]: the named scores of sums [..., F]; an emotion without clips has no recall (nan).

    `emotions` are the names of the classes, by which recalls are found.
    """
    assert len(emotions) == num_classes_of(sums) or not any(name.startswith(RECALL) for name in names)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = _recalls(sums)
        return np.stack(
            [
                recalls[..., emotions.index(name.removeprefix(RECALL))] if name.startswith(RECALL) else METRICS[name].of(sums)
                for name in names
            ]
        )


def supports_of(sums: np.ndarray, name: str, emotions: Sequence[str] = EMOTIONS) -> np.ndarray:
    """Return the clips [..., C] of the classes that a score of sums [..., F] is a mean over; one class, or one per emotion."""
    if name.startswith(RECALL):
        label = emotions.index(name.removeprefix(RECALL))
        return _supports(sums)[..., label : label + 1]
    return METRICS[name].supports(sums)


def is_better(name: str, value: float, than: float) -> bool:
    """Say whether a score beats another strictly; a loss is better when lower."""
    return value < than if name in LOWER_IS_BETTER else value > than
