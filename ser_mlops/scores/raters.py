"""How far raters agree: listeners about a clip, or the rounds of an experiment.

Shape letters: N clips, V answers that can be given.
"""

import numpy as np


def fleiss_kappa(votes_NV: np.ndarray) -> float:
    """Return Fleiss' kappa: agreement of two raters of one clip, beyond what the shares of the answers alone would give.

    Clips may have different numbers of votes; those with one vote say nothing about agreement. NaN where none has two, or where all
    raters always answer the same. J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971).
    """
    votes_NV = votes_NV[votes_NV.sum(axis=1) > 1]
    if not len(votes_NV):
        return float("nan")
    numbers_N = votes_NV.sum(axis=1)
    agreed = ((votes_NV * (votes_NV - 1)).sum(axis=1) / (numbers_N * (numbers_N - 1))).mean()
    by_chance = ((votes_NV.sum(axis=0) / votes_NV.sum()) ** 2).sum()
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")
