"""Prediction tables: one row per tested clip, with its true label and one logit per emotion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError

LOGIT = "logit_"
CLIP_COLUMNS = ("path", "corpus", "speaker", "gender", "language", "labels")


def prediction_table(clips: pd.DataFrame, logits_NE: np.ndarray, emotions: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Return the prediction table of tested clips (rows of a frame) and their logits, in their order.

    `emotions` are the names of the classes, whose numbers are the labels of the clips.
    """
    table = clips[list(CLIP_COLUMNS)].reset_index(drop=True)
    predicted = np.asarray(emotions, dtype=object)[np.asarray(logits_NE).argmax(axis=1)]
    logits = pd.DataFrame(logits_NE, columns=[f"{LOGIT}{emotion}" for emotion in emotions])
    return table.assign(predicted=pd.Categorical(predicted, categories=list(emotions))).join(logits)


def emotions_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the classes of a prediction table, in the order of their labels."""
    return tuple(column.removeprefix(LOGIT) for column in map(str, table.columns) if column.startswith(LOGIT))


def logits_of(table: pd.DataFrame, dtype: type | None = None) -> np.ndarray:
    """Return the logits [N, E] of a prediction table, of the type that they have there or of another."""
    return table[[f"{LOGIT}{emotion}" for emotion in emotions_of(table)]].to_numpy(dtype=dtype)


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
