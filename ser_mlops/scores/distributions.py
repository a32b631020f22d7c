"""How far a model's probabilities are from what listeners heard.

N clips, E emotions, V = E + 1 counts of votes, of each emotion and last of other ones, T totals. Of a clip, q are the shares of its votes
for the E emotions, as they are, without a prior; other votes are left out, as no answer can be right for them. p are the model's
probabilities, the softmax of its logits.

- js_divergence: Jensen-Shannon divergence in bits, 0 where p = q, 1 where they have nothing in common: (KL(q, m) + KL(p, m)) / 2 with
  m = (p + q) / 2. It is the square of what scipy calls the Jensen-Shannon distance (to base 2).
- cross_entropy: -sum of q log p, in nats. Its least value is the entropy of q, not 0.
- cosine: of the angle between p and q, 1 where they point the same way.
"""

import numpy as np
from scipy.special import log_softmax, rel_entr

NUM_TOTALS = 4
JS_DIVERGENCE, CROSS_ENTROPY, COSINE, WITH_VOTES = range(NUM_TOTALS)
"""Columns of what `distances` returns."""


def vote_shares(votes_NV: np.ndarray) -> np.ndarray:
    """Return the shares q_NE of the votes for the emotions, float64; nan for a clip in which nobody heard any of them.

    >>> vote_shares(np.array([[3, 1, 4], [0, 0, 2]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    counts_NE = np.asarray(votes_NV, dtype=np.float64)[:, :-1]
    numbers_N1 = counts_NE.sum(axis=1, keepdims=True)
    return np.divide(counts_NE, numbers_N1, out=np.full(counts_NE.shape, np.nan), where=numbers_N1 > 0)


def distances(logits_NE: np.ndarray, votes_NV: np.ndarray) -> np.ndarray:
    """Return [N, T]: the three measures of each clip, and 1; a clip without votes has four zeros."""
    shares_NE = vote_shares(votes_NV)
    has_votes_N = ~np.isnan(shares_NE).any(axis=1)
    totals_NT = np.zeros((len(shares_NE), NUM_TOTALS))
    q, log_p = shares_NE[has_votes_N], log_softmax(logits_NE[has_votes_N], axis=1)
    p = np.exp(log_p)
    middle = (p + q) / 2
    totals_NT[has_votes_N] = np.column_stack(
        [
            (rel_entr(q, middle) + rel_entr(p, middle)).sum(axis=1) / (2 * np.log(2)),
            -np.multiply(q, log_p, out=np.zeros(q.shape), where=q > 0).sum(axis=1),
            (p * q).sum(axis=1) / np.sqrt((p**2).sum(axis=1) * (q**2).sum(axis=1)),
            np.ones(len(q)),
        ]
    )
    return totals_NT
