"""Shows on a page what a model answers to one recording: its probabilities over time as a figure, and its windows as a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.scores.figures.recordings import over_time
from ser_mlops.scores.figures.style import EMOTION_COLOURS, save
from ser_mlops.serving.predictor import Predictor
from ser_mlops.serving.pyfunc import BATCH_SIZE

FINER_SECONDS = (5.0, 2.0, 1.0)
"""Windows that can be chosen besides the model's own."""
Shown = tuple[str, str | None, str | None, tuple[int, np.ndarray] | None]
"""What a page shows of a recording: a line, the path of the figure, the table, and the sound; lines and tables are HTML."""


class Listener:
    """A model that answers about one recording at a time; its figures go into `folder`."""

    def __init__(self, predictor: Predictor, folder: Path, finer_seconds: Sequence[float] = FINER_SECONDS) -> None:
        terms = predictor.terms
        finer = [seconds for seconds in finer_seconds if terms.min_seconds <= seconds < terms.window_seconds]
        self.predictors = {
            seconds: Predictor(predictor.model, replace(terms, window_seconds=seconds), BATCH_SIZE)
            for seconds in (terms.window_seconds, *finer)
        }
        self.terms = terms
        self.folder = folder

    @property
    def windows(self) -> list[tuple[str, float]]:
        """The windows that can be chosen: label and seconds, the model's own first."""
        own = self.terms.window_seconds
        return [(f"{seconds:g} s (the model's own)" if seconds == own else f"{seconds:g} s", seconds) for seconds in self.predictors]

    def show(self, wave: np.ndarray, window_seconds: float, name: str) -> Shown:
        """Return what to show of a recording of int16 samples."""
        rows = self.predictors[window_seconds].predict([wave]).drop(columns="clip")
        figure = over_time(wave / FULL_SCALE, SAMPLE_RATE, rows, name, self.terms.note)
        picture = Path(mkdtemp(dir=self.folder)) / f"{Path(name).stem}.png"
        save(figure, picture)
        return f'<div class="ser-answer">{_summary(rows)}</div>', str(picture), _table(rows), (SAMPLE_RATE, wave)


def _summary(rows: pd.DataFrame) -> str:
    """Return the answer as HTML: the emotion of one window and its probability, or the number of windows of each emotion."""
    if len(rows) == 1:
        emotion = rows["emotion"].iloc[0]
        return f"{coloured(emotion)} {rows[emotion].iloc[0]:.1%}"
    counts = rows["emotion"].value_counts()
    return f"{len(rows)} windows: " + ", ".join(f"{coloured(emotion)} in {count}" for emotion, count in counts.items())


def _table(rows: pd.DataFrame) -> str:
    seconds, share = "{:.2f}".format, "{:.4f}".format
    formats = {"start": seconds, "end": seconds} | {column: share for column in rows if column in EMOTION_COLOURS}
    return f'<div class="ser-rows">{rows.to_html(index=False, border=0, formatters=formats)}</div>'


def coloured(emotion: str) -> str:
    """Return an emotion as HTML, with its colour in front."""
    return f'<span style="color: {EMOTION_COLOURS[emotion]}">&#9632;</span> <b>{emotion}</b>'
