"""Figures of the data report: how values are spread in each corpus, and who speaks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ser_mlops.data.agreement import HEARD
from ser_mlops.data.corpora.base import TIE
from ser_mlops.data.frames import GENDERS
from ser_mlops.emotions import OTHER
from ser_mlops.scores.figures.style import BLUE, CYCLE, EMOTION_COLOURS, FAINT, GREY, INK, PERCENT, VERMILLION, legend_above, styled, titled

HEARD_COLOURS = EMOTION_COLOURS | {OTHER: FAINT, TIE: "#d9d9d9"}
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


@styled
def heard(counts: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw what most listeners heard in the clips of each label, as shares with their numbers.

    Args:
        counts: clips; one row per label, one column for each of HEARD.
    """
    figure = titled(8, 1.9 + 0.5 * len(counts), title, note)
    axes = figure.subplots()
    shares = counts.div(counts.sum(axis=1), axis=0)
    left = np.zeros(len(counts))
    for name in (name for name in HEARD if counts[name].any()):
        axes.barh(range(len(counts)), shares[name], left=left, height=0.7, color=HEARD_COLOURS[name], label=name)
        for position, share in enumerate(shares[name]):
            if share > 0.06:
                ink = INK if name == TIE else "white"
                axes.text(left[position] + share / 2, position, f"{counts[name].iloc[position]:,}", ha="center", va="center", color=ink)
        left += shares[name].to_numpy()
    axes.set_yticks(range(len(counts)), [f"{label} ({total:,})" for label, total in counts.sum(axis=1).items()])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the label's clips; on the bars, how many")
    axes.set_ylabel("label (clips)")
    legend_above(axes)
    return figure
