"""The one class space of the laboratory: seven emotions in an order that checkpoints store and nothing may change."""

from ser_mlops.errors import DataError, one_of

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
LABELS = {emotion: label for label, emotion in enumerate(EMOTIONS)}
OTHER = "other"
"""What listeners heard that is none of them."""
VOTES = tuple(f"votes_{emotion}" for emotion in (*EMOTIONS, OTHER))
"""Columns that count the listeners who heard each emotion, and last another one."""


def label_of(emotion: str) -> int:
    """Return the label (0 to 6) of an emotion.

    >>> label_of("angry")
    3
    """
    if emotion not in LABELS:
        raise DataError(one_of("emotion", emotion, EMOTIONS))
    return LABELS[emotion]
