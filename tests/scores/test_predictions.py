"""Prediction tables."""

from ser_mlops.scores.predictions import confusion_of
from tests.scores.builders import answered


def test_confusion_counts_true_labels_in_rows() -> None:
    counts = confusion_of(answered("aaa", [0, 0, 3], [0, 6, 3]))
    assert (counts[0, 0], counts[0, 6], counts[3, 3], counts.sum()) == (1, 1, 1, 3)
