"""Figures of the data report: how values are spread in each corpus, and who speaks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ser_mlops.data.frames import GENDERS
from ser_mlops.scores.figures.style import BLUE, CYCLE, FAINT, GREY, INK, VERMILLION, legend_above, styled, titled

GENDER_COLOURS = dict(zip(GENDERS, (VERMILLION, BLUE, GREY), strict=True))


@styled
def spread(values: Mapping[str, np.ndarray], axis: str, title: str, note: str = "") -> Figure:
    """Draw how a value spreads over the clips of each corpus: all of them, the middle 90 % and 50 %, and the median.

    Args:
        values: one value per clip, by corpus.
        axis: what the values are, with their unit.
    """
    figure = titled(8, 1.5 + 0.5 * len(values), title, note)
    axes = figure.subplots()
    for position, clips in enumerate(values.values()):
        least, p5, p25, median, p75, p95, most = np.percentile(clips, (0, 5, 25, 50, 75, 95, 100))
        colour = CYCLE[position % len(CYCLE)]
        for low, high, width in ((least, most, 1.2), (p5, p95, 5), (p25, p75, 12)):
            axes.plot([low, high], [position, position], color=colour, linewidth=width, solid_capstyle="butt")
        axes.plot(median, position, "o", color="white", markeredgecolor=INK, markersize=6)
        axes.annotate(f"{median:.3g}", (median, position), (0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{axis}: line all clips, bands the middle 90 % and 50 %, dot the median")
    return figure


@styled
def genders(speakers: pd.DataFrame, unknown: Mapping[str, int], title: str, note: str = "") -> Figure:
    """Draw each corpus's speakers by gender, as shares with their numbers.

    Args:
        speakers: number of known speakers; one row per corpus, one column per gender.
        unknown: number of clips of each corpus of which nobody knows who speaks.
    """
    figure = titled(8, 1.6 + 0.5 * len(speakers), title, note)
    axes = figure.subplots()
    shares = speakers.div(speakers.sum(axis=1).clip(lower=1), axis=0)
    left = np.zeros(len(speakers))
    for gender in speakers.columns[speakers.any()]:
        axes.barh(range(len(speakers)), shares[gender], left=left, height=0.7, color=GENDER_COLOURS[gender], label=gender)
        for position, share in enumerate(shares[gender]):
            if share > 0.04:
                number = f"{speakers[gender].iloc[position]:,}"
                axes.text(left[position] + share / 2, position, number, ha="center", va="center", color="white")
        left += shares[gender].to_numpy()
    for position, (corpus, total) in enumerate(speakers.sum(axis=1).items()):
        clips = unknown[str(corpus)]
        beside = f"\n+ {clips:,} {'clip' if clips == 1 else 'clips'} of unknown" if clips else ""
        axes.text(1.01, position, f"{total:,} speakers{beside}", va="center", fontsize=9, color=FAINT)
    axes.set_yticks(range(len(speakers)), list(speakers.index))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22)
    axes.set_xticks(np.linspace(0, 1, 5), [f"{share:.0%}" for share in np.linspace(0, 1, 5)])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the speakers; on the bars, how many")
    legend_above(axes)
    return figure
