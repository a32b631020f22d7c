"""Prediction tables: one row per tested clip, with its true label and one logit per emotion.

Where listeners voted on any of the clips, the columns that count them are there, too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.scores.distributions import vote_shares

VOTES_FOR = "votes_"
"""How the columns begin that count listeners: one per emotion and last `votes_other`, as in frames."""

LOGIT = "logit_"
CLIP_COLUMNS = ("path", "corpus", "speaker", "gender", "language", "labels")


def prediction_table(clips: pd.DataFrame, logits_NE: np.ndarray, emotions: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Return the prediction table of tested clips (rows of a frame) and their logits, in their order.

    `emotions` are the names of the classes, whose numbers are the labels of the clips.
    """
    votes = vote_columns_of(clips) if votes_of(clips) is not None else []
    table = clips[[*CLIP_COLUMNS, *votes]].reset_index(drop=True)
    predicted = np.asarray(emotions, dtype=object)[np.asarray(logits_NE).argmax(axis=1)]
    logits = pd.DataFrame(logits_NE, columns=[f"{LOGIT}{emotion}" for emotion in emotions])
    return table.assign(predicted=pd.Categorical(predicted, categories=list(emotions))).join(logits)


def emotions_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the classes of a prediction table, in the order of their labels."""
    return tuple(column.removeprefix(LOGIT) for column in map(str, table.columns) if column.startswith(LOGIT))


def logits_of(table: pd.DataFrame, dtype: type | None = None) -> np.ndarray:
    """Return the logits [N, E] of a prediction table, of the type that they have there or of another."""
    return table[[f"{LOGIT}{emotion}" for emotion in emotions_of(table)]].to_numpy(dtype=dtype)


def votes_of(table: pd.DataFrame) -> np.ndarray | None:
    """Return the votes [N, V] on the clips of a table, 0 where nobody was asked; None where no clip has a vote for an emotion."""
    columns = vote_columns_of(table)
    if not columns:
        return None
    votes_NV = table[columns].fillna(0).to_numpy(dtype=np.int64)
    return None if np.isnan(vote_shares(votes_NV)).all() else votes_NV


def vote_columns_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that count listeners, in order; none where a table has no votes."""
    return [column for column in table.columns if column.startswith(VOTES_FOR)]


def confusion_of(table: pd.DataFrame) -> np.ndarray:
    """Count the clips of a prediction table by true label (rows) and predicted label (columns)."""
    logits_NE = logits_of(table)
    count = logits_NE.shape[1]
    cells = np.bincount(table["labels"] * count + logits_NE.argmax(axis=1), minlength=count**2)
    return cells.reshape(count, count)


def in_one_order(rounds: Sequence[pd.DataFrame], name: str) -> list[pd.DataFrame]:
    """Return the tables with their clips in the order of the paths, checked to be the same clips in all."""
    ordered = [table.sort_values("path", ignore_index=True) for table in rounds]
    is_twice = ordered[0]["path"].duplicated()
    if is_twice.any():
        raise DataError(f"{name}: clip {ordered[0]['path'][is_twice].iloc[0]!r} was tested twice in one round")
    for position, table in enumerate(ordered):
        if not table[["path", "labels"]].equals(ordered[0][["path", "labels"]]):
            raise DataError(f"{name}: round {position} was tested on other clips or labels than round 0")
    return ordered


def ensemble_of(rounds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the prediction table of an ensemble of rounds: its probabilities are the mean of theirs, its logits their logarithms."""
    tables = in_one_order(rounds, "rounds")
    log_probabilities_RNE = np.stack([log_softmax(logits_of(table, np.float64), axis=1) for table in tables])
    return prediction_table(tables[0], logsumexp(log_probabilities_RNE, axis=0) - np.log(len(tables)), emotions_of(tables[0]))
