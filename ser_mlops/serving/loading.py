"""A model as a function of a recording, for notebooks and scripts: `load("models:/ser@champion")(wave, rate)`."""

from pathlib import Path

import pandas as pd
from numpy.typing import ArrayLike

from ser_mlops.data.audio.arrays import decode_recording
from ser_mlops.serving.champion import fetched
from ser_mlops.serving.predictor import Predictor


class LoadedModel:
    """A model that is called with recordings."""

    def __init__(self, predictor: Predictor, model_uri: str) -> None:
        self._predictor = predictor
        self.model_uri = model_uri
        self.note = predictor.terms.note
        """What everyone who uses the model must know, for example that it was trained on synthetic data."""

    def __call__(self, recording: ArrayLike | str | Path, rate: int | None = None) -> pd.DataFrame:
        """Return one row per window of a recording: start and end in seconds, emotion, and a probability per emotion.

        `recording` is an audio file, or samples (or samples x channels) of int16 or of floats in [-1, 1], at `rate` Hz. What is no longer
        than the model's window is one row. The numbers equal those of `predict` for the same recording in a file.

        Raises:
            BadAudio: the recording cannot be used.
            DataError: it is of another shape or type, or has no rate.
        """
        decoded = decode_recording(recording, rate, self._predictor.terms.min_seconds)
        return self._predictor.predict([decoded.samples]).drop(columns="clip")

    def __repr__(self) -> str:
        return f"<model {self.model_uri}{f', trained on {self.note}' if self.note else ''}>"


def load(model_uri: str, *, window_seconds: float | None = None) -> LoadedModel:
    """Load a model: models:/NAME@champion, models:/NAME/3, the id of a round or of an experiment (then its best round), or a folder.

    Longer recordings are classified in windows of at most `window_seconds`; by default as the model says.

    Raises:
        ModelError: there is no such model.
        TrackingError: there is no such run.
    """
    with fetched(model_uri) as folder:
        return LoadedModel(Predictor.open(folder, window_seconds=window_seconds), model_uri)
