"""One recording: its waveform and the emotions over time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_mlops.scores.figures.style import BLUE, EMOTION_COLOURS, PERCENT, legend_above, styled, titled


@styled
def over_time(wave: np.ndarray, sample_rate: int, windows: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw a recording's waveform and, below it, the probabilities of each window, stacked to 1.

    Args:
        wave: samples of which 1 is full scale.
        windows: one row per window, as `Predictor.predict` returns them: start and end in seconds, and a probability per emotion.
    """
    figure = titled(9, 4.6, title, note)
    sound, stack = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    _waveform(sound, wave, sample_rate)
    below = np.zeros(len(windows))
    colours = {emotion: colour for emotion, colour in EMOTION_COLOURS.items() if emotion in windows}
    for emotion, colour in colours.items():
        stack.bar(
            windows["start"],
            windows[emotion],
            windows["end"] - windows["start"],
            below,
            align="edge",
            color=colour,
            label=emotion,
            edgecolor="white",
            linewidth=0.6 if len(windows) <= 100 else 0,
        )
        below += windows[emotion].to_numpy()
    stack.set_xlim(0, len(wave) / sample_rate)
    stack.set_ylim(0, 1)
    stack.set_ylabel("probability")
    stack.yaxis.set_major_formatter(PERCENT)
    stack.set_xlabel("time (s)")
    stack.grid(False)
    legend_above(stack, columns=len(colours))
    return figure


def _waveform(axes: Axes, wave: np.ndarray, sample_rate: int) -> None:
    """Draw the range of the samples in each of at most 2,000 stretches: every peak shows, however long the recording."""
    starts = np.unique(np.linspace(0, len(wave), 2000, endpoint=False, dtype=int))
    seconds = np.append(starts, len(wave)) / sample_rate
    low, high = (np.append(edge, edge[-1]) for edge in (np.minimum.reduceat(wave, starts), np.maximum.reduceat(wave, starts)))
    axes.fill_between(seconds, low, high, step="post", color=BLUE, linewidth=0.6)
    reach = 1.05 * max(-low.min(), high.max())
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("amplitude")
