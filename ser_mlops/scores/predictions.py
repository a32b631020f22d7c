"""Prediction tables: one row per tested clip, with its true label and one logit per emotion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.scores.metrics import NUM_EMOTIONS

LOGITS = tuple(f"logit_{emotion}" for emotion in EMOTIONS)


CLIP_COLUMNS = ("path", "corpus", "speaker", "gender", "language", "labels")


def prediction_table(clips: pd.DataFrame, logits_NE: np.ndarray) -> pd.DataFrame:
    """Return the prediction table of tested clips (rows of a frame) and their logits, in their order."""
    table = clips[list(CLIP_COLUMNS)].reset_index(drop=True)
    predicted = np.asarray(EMOTIONS, dtype=object)[np.asarray(logits_NE).argmax(axis=1)]
    return table.assign(predicted=pd.Categorical(predicted, categories=list(EMOTIONS))).join(pd.DataFrame(logits_NE, columns=list(LOGITS)))


def confusion_of(table: pd.DataFrame) -> np.ndarray:
    """Count the clips of a prediction table by true label (rows) and predicted label (columns)."""
    predicted_N = table[list(LOGITS)].to_numpy().argmax(axis=1)
    cells = np.bincount(table["labels"] * NUM_EMOTIONS + predicted_N, minlength=NUM_EMOTIONS**2)
    return cells.reshape(NUM_EMOTIONS, NUM_EMOTIONS)


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
    log_probabilities_RNE = np.stack([log_softmax(table[list(LOGITS)].to_numpy(dtype=np.float64), axis=1) for table in tables])
    return prediction_table(tables[0], logsumexp(log_probabilities_RNE, axis=0) - np.log(len(tables)))
