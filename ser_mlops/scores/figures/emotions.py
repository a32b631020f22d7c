"""How the emotions are distributed over the sides of a training, or over corpora."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_mlops.scores.figures.style import EMOTION_COLOURS, FAINT, INK, PERCENT, styled, titled


@styled
def distribution(counts: pd.DataFrame, title: str, note: str = "", of: str = "side") -> Figure:
    """Draw the emotions of each side (training, validation, test; or of each corpus) as shares, with the number of clips on each bar.

    Args:
        counts: clips; one row per emotion in class order, one column per side.
        title: the heading.
        note: a remark under it.
        of: what a column is, for the axis: side or corpus.
    """
    sides = list(counts.columns)
    columns = min(len(sides), 3)
    rows = -(-len(sides) // columns)
    figure = titled(3.7 * columns + 0.6, 2.7 * rows + 0.9, title, note)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    shares = counts / counts.sum().clip(lower=1)
    highest = shares.to_numpy().max()
    for axes, side in zip(panels.flat, sides, strict=False):
        axes.bar(counts.index, shares[side], color=[EMOTION_COLOURS[emotion] for emotion in counts.index], width=0.78)
        for position, (share, count) in enumerate(zip(shares[side], counts[side], strict=True)):
            axes.text(position, share + highest * 0.02, f"{count:,}", ha="center", va="bottom", fontsize=8, color=INK if count else FAINT)
        axes.set_title(f"{side}: {counts[side].sum():,} clips")
        axes.set_ylim(0, highest * 1.15)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
        axes.grid(axis="x", visible=False)
        axes.tick_params(axis="x", length=0)
        axes.set_xticks(range(len(counts)), counts.index, rotation=40, ha="right", rotation_mode="anchor")
    for axes in panels.flat[len(sides) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"share of the {of}'s clips")
    return figure
