"""The clips of a space of emotions: those of its classes, with the class as label."""

from typing import Any

import numpy as np
import pandas as pd

from ser_mlops.emotions import OUTSIDE, SEVEN, VOTES, Space, vote_columns


def within(frame: pd.DataFrame, space: Space) -> pd.DataFrame:
    """Return the clips of a frame that are of the space, as the frame of its classes.

    `labels` and `emotions` are the class, whose names are the categories of `emotions`; `votes_<class>` counts the listeners who heard any
    emotion of the class, and `votes_other` also those who heard one that is left out.
    """
    if space == SEVEN:
        return frame
    classes_N = np.asarray(space.class_of)[frame["labels"].to_numpy()]
    kept = frame[classes_N != OUTSIDE]
    labels_N = classes_N[classes_N != OUTSIDE]
    kept = kept.assign(labels=labels_N, emotions=pd.Categorical.from_codes(labels_N, categories=list(space.classes)))
    return _gather_votes(kept, space)


def left_out(frame: pd.DataFrame, space: Space) -> dict[str, int]:
    """Count the clips of a whole frame that are not of the space, by emotion; emotions without clips are not listed."""
    counts = frame["emotions"].value_counts()
    return {emotion: int(counts[emotion]) for emotion in space.left_out if counts[emotion]}


def _gather_votes(frame: pd.DataFrame, space: Space) -> pd.DataFrame:
    columns = vote_columns(space.classes)
    gathered: dict[str, Any] = dict.fromkeys(columns, 0)
    for column, number in zip(VOTES, (*space.class_of, OUTSIDE), strict=True):
        gathered[columns[number]] += frame[column]  # the last column, that of other emotions, is also number -1: OUTSIDE
    return frame.drop(columns=list(VOTES)).assign(**gathered)
