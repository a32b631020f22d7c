"""Scores over rounds and speakers: means, spreads and intervals.

All scores are those of `metrics`, here as functions of sums over *units* (a unit is a speaker; a clip whose speaker nobody knows is
its own unit), so that resampling units costs one matrix product: U units, R rounds, F sums, E emotions, B resamples, N clips.

Interval: the percentile bootstrap of the mean over rounds, units drawn with replacement, the same draw for all rounds. UAR and F1 of
a resample are over the emotions present in it. One speaker alone cannot be resampled: then clips are, and a note says so.
"""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ser_mlops.scores.metrics import NONE_SHARED, score_names, scores_of, shared_labels, sums_of
from ser_mlops.scores.predictions import LOGITS, in_one_order
from ser_mlops.seeds import rng

ALPHA = 0.05


RESAMPLES = 9999
"""Draws of a bootstrap, and of a permutation test that has more ways to swap."""


Statistic = Callable[[np.ndarray], np.ndarray]
"""From drawn units [B, U] to values [M, B]."""


FEW_SPEAKERS = 10


BATCH_CELLS = 4_000_000
"""Drawn units held at once: 32 MB of indices."""


@dataclass(frozen=True)
class Units:
    """What is resampled: the unit of each clip, as an index, and what a unit is."""

    codes_N: np.ndarray
    kind: str
    num_speakers: int

    @property
    def count(self) -> int:
        return int(self.codes_N.max()) + 1


def units_of(table: pd.DataFrame, *, fewest: int = 2) -> Units:
    """Return the speakers of a table as its units, or its clips where there are fewer than `fewest` speakers."""
    is_unknown = table["speaker"].str.endswith("/unknown")
    speakers, names = pd.factorize(table["speaker"].where(~is_unknown, table["path"]))
    if len(names) >= fewest:
        return Units(speakers, "speaker", len(names))
    return Units(np.arange(len(table)), "clip", len(names))


def unit_sums(rounds: Sequence[pd.DataFrame], units: Units, shared: np.ndarray = NONE_SHARED) -> np.ndarray:
    """Return the sums [U, R, F] of every unit and round."""
    by_round = [
        sums_of(table[list(LOGITS)].to_numpy(dtype=np.float64), table["labels"].to_numpy(), shared, units.codes_N, units.count)
        for table in rounds
    ]
    return np.stack(by_round, axis=1)


def _draw_sums(sums: np.ndarray, drawn_BU: np.ndarray) -> np.ndarray:
    """Return [B, R, F]: the sums over drawn units, each as often as it was drawn."""
    num_units = len(sums)
    times = np.bincount((drawn_BU + num_units * np.arange(len(drawn_BU))[:, None]).ravel(), minlength=len(drawn_BU) * num_units)
    return np.tensordot(times.reshape(drawn_BU.shape).astype(np.float64), sums, axes=1)


def mean_scores(sums: np.ndarray, names: Sequence[str]) -> Statistic:
    """Return the scores' means over the rounds as a function of drawn units."""
    return lambda drawn_BU: scores_of(_draw_sums(sums, drawn_BU), names).mean(axis=-1)


def minus(one: Statistic, other: Statistic) -> Statistic:
    return lambda drawn_BU: one(drawn_BU) - other(drawn_BU)


@dataclass(frozen=True)
class Summary:
    """An experiment's scores over its rounds."""

    table: pd.DataFrame
    """One row per score; mean and sd over rounds (sd: n - 1, nan for one round), ci_low and ci_high."""
    rounds: pd.DataFrame
    """One row per score, one column per round."""
    units: Units
    notes: tuple[str, ...]


def summarise_rounds(
    rounds: Sequence[pd.DataFrame], seed: int, trained_labels: Collection[int] = (), resamples: int = RESAMPLES
) -> Summary:
    """Summarise the prediction tables of an experiment's rounds: mean, sd and 95 % interval of every score.

    Args:
        rounds: one prediction table per round, over the same clips.
        seed: of the bootstrap's draws.
        trained_labels: labels that the training clips have; with none, `uar_shared` is left out.
    """
    rounds = in_one_order(rounds, "rounds")
    units = units_of(rounds[0])
    labels_N = rounds[0]["labels"].to_numpy()
    shared = shared_labels(labels_N, trained_labels)
    names = score_names(labels_N, shared)
    sums = unit_sums(rounds, units, shared)
    scores_MR = scores_of(sums.sum(axis=0), names)
    low, high = interval(mean_scores(sums, names), units.count, seed, resamples)
    by_round = pd.DataFrame(scores_MR, index=pd.Index(names, name="score"))
    table = pd.DataFrame({"mean": by_round.mean(axis=1), "sd": by_round.std(axis=1, ddof=1), "ci_low": low, "ci_high": high})
    return Summary(table, by_round, units, interval_notes(units))


def interval(statistic: Statistic, num_units: int, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % percentile interval of a statistic; nan where a single clip leaves nothing to resample."""
    if num_units == 1:
        open_bounds = np.full(len(statistic(np.zeros((1, 1), dtype=np.int64))), np.nan)
        return open_bounds, open_bounds

    def of_drawn(units: np.ndarray, axis: int) -> np.ndarray:
        return statistic(np.atleast_2d(units)).reshape(-1, *units.shape[:-1])

    with warnings.catch_warnings():
        # scipy's own bounds are nan where a resample lacks an emotion and thus its recall; ours leave such resamples out.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(num_units),),
            of_drawn,
            n_resamples=resamples,
            batch=max(1, BATCH_CELLS // num_units),
            vectorized=True,
            method="percentile",
            rng=rng(seed, "bootstrap"),
        )
    low, high = np.nanquantile(result.bootstrap_distribution, (ALPHA / 2, 1 - ALPHA / 2), axis=-1)
    return low, high


def interval_notes(units: Units) -> tuple[str, ...]:
    if units.kind == "clip":
        return ("intervals resample clips, because there is one speaker: they say nothing of other speakers",)
    if units.count < FEW_SPEAKERS:
        return (f"intervals resample {units.count} speakers: so few give a rough interval, and too narrow a one",)
    return ()
