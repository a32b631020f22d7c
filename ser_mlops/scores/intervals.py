"""95 % intervals over new speakers and new seeds, in closed form; docs/statistics.md derives them and shows how often they cover.

U units (speakers) in strata (corpora), R rounds, M scores.

- Speakers: the jackknife. Each unit is left out in turn, the others of its stratum weigh as much more, and the score's mean over the rounds
  is computed again. In a stratum of u units the variance is (u - 1) / u times the sum of squares of these values about their mean (Efron
  and Stein, 1981); strata add up. Its degrees of freedom are u - 1 where units are equally large, and those of the weighted mean where
  they are not (Bell and McCaffrey, 2002).
- Rounds: the variance of the rounds' scores, divided by R, with R - 1 degrees of freedom; of two experiments with R rounds each, the sum of
  both with 2 (R - 1). One round says nothing about other seeds.
- Together: the variances add up, with Satterthwaite's (1946) degrees of freedom. The interval is never narrower than for speakers alone,
  nor than for rounds alone: the added variance is estimated, and may come out too small.

There is no interval (nan) where nothing can be estimated: where a stratum, or an emotion in it, has a single unit, and where all units
of a stratum score alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.metrics import UNBOUNDED, scores_of, supports_of

ALPHA = 0.05
ROUNDING = 1e-12
"""Scores that differ by less are equal."""


@dataclass(frozen=True)
class Estimate:
    """Scores with what their intervals follow from."""

    names: tuple[str, ...]
    mean_M: np.ndarray
    """Over the rounds."""
    left_out_MU: np.ndarray
    """The means without each unit."""
    rounds: tuple[np.ndarray, ...]
    """The scores [M, R] of the rounds; several arrays where independent experiments come together."""
    shares_MU: np.ndarray
    """Each unit's share in a score; nan where the unit's stratum leaves the score without an interval."""
    strata_U: np.ndarray

    def only(self, names: Sequence[str]) -> "Estimate":
        """Return some of the scores."""
        chosen = [self.names.index(name) for name in names]
        rounds = tuple(scores_MR[chosen] for scores_MR in self.rounds)
        return Estimate(tuple(names), self.mean_M[chosen], self.left_out_MU[chosen], rounds, self.shares_MU[chosen], self.strata_U)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Return the difference of two experiments over the same clips, and so over the same units; their rounds are independent."""
        return Estimate(
            self.names,
            self.mean_M - other.mean_M,
            self.left_out_MU - other.left_out_MU,
            (*self.rounds, *other.rounds),
            self.shares_MU,
            self.strata_U,
        )


def estimate(sums: np.ndarray, strata_U: np.ndarray, names: Sequence[str], emotions: Sequence[str] = EMOTIONS) -> Estimate:
    """Return the named scores of sums [U, R, F]; `emotions` are the names of the classes."""
    total = sums.sum(axis=0)
    by_round_MR = scores_of(total, names, emotions)
    left_out_MU = scores_of(_left_out(sums, strata_U), names, emotions).mean(axis=-1)
    supports = (supports_of(sums[:, 0], name, emotions) for name in names)
    shares_MU = np.stack([_shares(counts_UC, strata_U) for counts_UC in supports])
    return Estimate(tuple(names), by_round_MR.mean(axis=-1), left_out_MU, (by_round_MR,), shares_MU, strata_U)


def _left_out(sums: np.ndarray, strata_U: np.ndarray) -> np.ndarray:
    """Return the sums [U, R, F] without each unit; the others of its stratum weigh more, so that the strata keep their shares."""
    total, clips_U = sums.sum(axis=0), supports_of(sums[:, 0], "accuracy")[:, 0]
    left_out = np.empty_like(sums, dtype=np.float64)
    for stratum in np.unique(strata_U):
        members = strata_U == stratum
        own, rest_U = sums[members].sum(axis=0), clips_U[members].sum() - clips_U[members]
        weights_U = np.divide(clips_U[members].sum(), rest_U, out=np.ones_like(rest_U, dtype=np.float64), where=rest_U > 0)
        left_out[members] = total - own + (own - sums[members]) * weights_U[:, None, None]
    return left_out


def _shares(counts_UC: np.ndarray, strata_U: np.ndarray) -> np.ndarray:
    """Return each unit's share in a score that is a mean over C classes of clips; nan in a stratum where a class has a single unit."""
    present_C = counts_UC.sum(axis=0) > 0
    shares_U = (counts_UC[:, present_C] / counts_UC[:, present_C].sum(axis=0)).mean(axis=1)
    for stratum in np.unique(strata_U):
        members = strata_U == stratum
        if ((counts_UC[members] > 0).sum(axis=0) == 1).any():
            shares_U[members] = np.nan
    return shares_U


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the plain mean of estimates over disjoint units (test corpora), of the same scores and the same rounds."""
    count = len(estimates)
    mean_M = np.mean([one.mean_M for one in estimates], axis=0)
    changes = [(one.left_out_MU - one.mean_M[:, None]) / count for one in estimates]
    rounds = tuple(np.mean(arrays, axis=0) for arrays in zip(*(one.rounds for one in estimates), strict=True))
    strata = np.concatenate([[f"{number} {stratum}" for stratum in one.strata_U] for number, one in enumerate(estimates)])
    shares_MU = np.concatenate([one.shares_MU for one in estimates], axis=1)
    return Estimate(estimates[0].names, mean_M, mean_M[:, None] + np.concatenate(changes, axis=1), rounds, shares_MU, strata)


def interval(of: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bounds [M]; nan where there is no interval."""
    speakers = [_over_units(of, stratum) for stratum in np.unique(of.strata_U)]
    rounds = [_over_rounds(of.rounds)] if of.rounds[0].shape[1] > 1 else []
    half = np.maximum(_half_width(speakers), _half_width(speakers + rounds))
    if rounds:
        half = np.maximum(half, np.nan_to_num(_half_width(rounds)))
    return _within_scale(of.names, of.mean_M - half, of.mean_M + half, is_difference=len(of.rounds) > 1)


def _over_rounds(rounds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of the mean over the rounds and its degrees of freedom, by score.

    For a difference it is that of Student's t test: the rounds of both experiments vary alike.
    """
    variance_M = np.sum([scores_MR.var(axis=1, ddof=1) / scores_MR.shape[1] for scores_MR in rounds], axis=0)
    return variance_M, np.full(len(variance_M), sum(scores_MR.shape[1] - 1.0 for scores_MR in rounds))


def _over_units(of: Estimate, stratum: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance over a stratum's units and its degrees of freedom, by score; 0 where the stratum has no part in the score."""
    members = of.strata_U == stratum
    results = [
        _jackknife(values_U, shares_U) for values_U, shares_U in zip(of.left_out_MU[:, members], of.shares_MU[:, members], strict=True)
    ]
    variances, freedoms = zip(*results, strict=True)
    return np.array(variances), np.array(freedoms)


def _jackknife(left_out_U: np.ndarray, shares_U: np.ndarray) -> tuple[float, float]:
    """Return the jackknife variance and its degrees of freedom; nan where there is a single unit, or all score alike.

    >>> _jackknife(np.array([0.4, 0.5, 0.6]), np.array([1, 1, 1]) / 3)
    (0.01333..., 2.0...)
    """
    has_part = ~(shares_U == 0)
    count = int(has_part.sum())
    if count == 0:
        return 0.0, 1.0
    if count == 1 or np.isnan(shares_U).any():
        return np.nan, np.nan
    values, shares = left_out_U[has_part], shares_U[has_part] / shares_U[has_part].sum()
    if np.ptp(values) < ROUNDING:
        return np.nan, np.nan
    return float((count - 1) / count * ((values - values.mean()) ** 2).sum()), _degrees_of_freedom(shares)


def _degrees_of_freedom(shares_U: np.ndarray) -> float:
    """Return those of the variance of a weighted mean: 2 mean² / variance of the estimated variance, for normal units of one variance.

    The deviations w_u (y_u - mean) have the covariance D C D, D = diag(w), C_uv = [u = v] - w_u - w_v + sum of w²; so the degrees of
    freedom are trace(DCD)² / trace((DCD)²).

    >>> round(_degrees_of_freedom(np.ones(5) / 5), 6), round(_degrees_of_freedom(np.array([0.8, 0.1, 0.1])), 2)
    (4.0, 1.34)
    """
    square = shares_U @ shares_U
    centred = np.eye(len(shares_U)) - shares_U[:, None] - shares_U + square
    covariance = shares_U[:, None] * centred * shares_U
    return float(np.trace(covariance) ** 2 / (covariance**2).sum())


def _half_width(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return Student's t times the standard error of variances, with their degrees of freedom, that add up."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = total**2 / np.sum([variance**2 / own for variance, own in parts], axis=0)
        return stdtrit(freedom, 1 - ALPHA / 2) * np.sqrt(total)  # as scipy.stats.t.ppf, which takes half a second to import


def _within_scale(names: Sequence[str], low_M: np.ndarray, high_M: np.ndarray, *, is_difference: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cut bounds at the ends of the scale: 0 and 1, -1 and 1 for a difference, and for a cross-entropy (the loss) 0 alone."""
    is_unbounded = np.isin(names, list(UNBOUNDED))
    least = np.where(is_unbounded, -np.inf, -1.0) if is_difference else np.zeros(len(names))
    return np.maximum(low_M, least), np.minimum(high_M, np.where(is_unbounded, np.inf, 1.0))
