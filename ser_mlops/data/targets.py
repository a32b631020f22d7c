"""What a clip is trained towards: its label, or what share of its listeners heard each class.

N clips, K classes.
"""

import numpy as np
import pandas as pd

from ser_mlops.emotions import vote_columns


def targets_of(frame: pd.DataFrame, targets: str, prior: float) -> np.ndarray | None:
    """Return targets_NK by the settings `targets` and `votes_prior`: rows that sum to 1. None where every clip has a label, its target.

    hard: the label; where several count as such (`num_labels`), each gets an equal share. soft: see `distributions`.
    """
    shares_NK = distributions(frame, prior) if targets == "soft" else _shares_of_labels(frame)
    is_labels = (frame["num_labels"] == 1).all() and np.array_equal(shares_NK, _one_hot(frame))
    return None if is_labels else shares_NK


def distributions(frame: pd.DataFrame, prior: float) -> np.ndarray:
    """Return which share of the votes for the classes each class has, [N, K], with `prior` votes added to each of them.

    Votes for other emotions are left out. A clip without votes has its label alone.
    """
    votes_NK = _votes(frame)
    was_heard_N = votes_NK.sum(axis=1) > 0
    counts_NK = np.where(was_heard_N[:, None], votes_NK + prior, _one_hot(frame))
    return counts_NK / counts_NK.sum(axis=1, keepdims=True)


def _shares_of_labels(frame: pd.DataFrame) -> np.ndarray:
    """Return the label's row, and equal shares of the most voted classes where several are labels."""
    votes_NK = _votes(frame)
    leads_NK = votes_NK == votes_NK.max(axis=1, keepdims=True)
    several_N = frame["num_labels"].to_numpy() > 1
    return np.where(several_N[:, None], leads_NK / leads_NK.sum(axis=1, keepdims=True), _one_hot(frame))


def _votes(frame: pd.DataFrame) -> np.ndarray:
    return frame[list(vote_columns(frame["emotions"].cat.categories))[:-1]].to_numpy(dtype=np.float64)


def _one_hot(frame: pd.DataFrame) -> np.ndarray:
    return np.eye(len(frame["emotions"].cat.categories))[frame["labels"].to_numpy()]
