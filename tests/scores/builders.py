"""Prediction tables that tests state in a line."""

import numpy as np
import pandas as pd

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores import metrics
from ser_mlops.scores.predictions import logits_of, prediction_table


def answered(speakers: str, labels: list[int], predicted: list[int], confidence: float = 0.9) -> pd.DataFrame:
    """A prediction table of clips by one-letter speakers, every answer given with the same confidence."""
    clips = pd.DataFrame(
        {
            "path": [f"X/{number}.wav" for number in range(len(labels))],
            "corpus": "X",
            "gender": "unknown",
            "speaker": [f"X/{speaker}" for speaker in speakers],
            "language": "en",
            "labels": labels,
        }
    )
    probabilities = np.full((len(labels), len(EMOTIONS)), (1 - confidence) / (len(EMOTIONS) - 1))
    probabilities[np.arange(len(labels)), predicted] = confidence
    return prediction_table(clips, np.log(probabilities))


def scored(table: pd.DataFrame, trained: range = range(7)) -> dict[str, float]:
    return metrics.score(logits_of(table), table["labels"].to_numpy(), trained)
