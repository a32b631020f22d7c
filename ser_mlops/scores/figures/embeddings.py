"""Embeddings: what a probe reads from each layer, and the clips in two dimensions."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.figures.style import CYCLE, EMOTION_COLOURS, FAINT, INK, PERCENT, VERMILLION, legend_above, styled, titled

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOST_NAMES = 10
"""More speakers than this have colours without names."""


@styled
def by_layer(scores: pd.DataFrame, best: int | None, title: str, note: str = "") -> Figure:
    """Draw what probes read from each layer: the emotion above, speaker and corpus below; dotted: chance.

    `scores` has a row per layer, probe and data: layer, probe, data, score, ci_low, ci_high, chance.
    """
    panels = [("emotion", "UAR of emotion"), ("others", "mean recall of speaker, corpus")]
    has_others = (scores["probe"] != "emotion").any()
    figure = titled(8.4, 7.4 if has_others else 4.4, title, note)
    axes = figure.subplots(2 if has_others else 1, 1, sharex=True, squeeze=False)[:, 0]
    for place, (panel, label) in zip(axes, panels, strict=False):
        shown = scores[(scores["probe"] == "emotion") == (panel == "emotion")]
        _lines(place, shown, is_emotion=panel == "emotion")
        place.set_ylabel(label)
        place.yaxis.set_major_formatter(PERCENT)
        place.set_ylim(0, 1.03)
        if best is not None and panel == "emotion":
            place.axvline(best, color=VERMILLION, linestyle="--", linewidth=1.2, label=f"best: layer {best}")
        legend_above(place)
    axes[-1].set_xlabel("layer (0: input of the first)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _lines(axes: Axes, scores: pd.DataFrame, *, is_emotion: bool) -> None:
    """Draw a line for each corpus; the mean over corpora is thick, and has its interval."""
    for number, ((probe, data), rows) in enumerate(scores.groupby(["probe", "data"], sort=False)):
        rows = rows.sort_values("layer")
        is_leading = data == "mean" or (is_emotion and scores["data"].nunique() == 1) or probe == "corpus"
        colour = INK if is_leading else CYCLE[number % len(CYCLE)]
        name = str(data) if is_emotion else "corpus" if probe == "corpus" else f"speaker, {data}"
        axes.plot(
            rows["layer"],
            rows["score"],
            color=colour,
            linewidth=2.6 if is_leading else 1.3,
            marker=MARKERS[number % len(MARKERS)],
            label=name,
        )
        if is_leading and rows["ci_low"].notna().any():
            axes.fill_between(rows["layer"], rows["ci_low"], rows["ci_high"], color=colour, alpha=0.12, linewidth=0, label="95 % interval")
        if is_leading or not is_emotion:
            axes.axhline(rows["chance"].iloc[0], color=FAINT if is_leading else colour, linestyle=":", linewidth=1.1)


@styled
def in_the_plane(points: pd.DataFrame, shares: np.ndarray, title: str, note: str = "") -> Figure:
    """Draw clips in two dimensions, PCA above and t-SNE below, coloured by emotion, corpus and speaker.

    Args:
        points: one row per clip: pca_1, pca_2, tsne_1, tsne_2, emotion, corpus, speaker.
        shares: shares of the variance that the two principal components have.
    """
    figure = titled(12.6, 9.0, title, note)
    axes = figure.subplots(2, 3)
    for column, by in enumerate(("emotion", "corpus", "speaker")):
        colours = _colours(points[by], by)
        for row, method in enumerate(("pca", "tsne")):
            place = axes[row, column]
            for number, (name, colour) in enumerate(colours.items()):
                chosen = points[points[by].astype("str") == name]
                label = f"{name}" if len(colours) <= MOST_NAMES else None
                marker = MARKERS[number % len(MARKERS)]
                x, y = chosen[f"{method}_1"], chosen[f"{method}_2"]
                place.scatter(x, y, s=14, color=colour, marker=marker, alpha=0.75, linewidths=0, label=label)
            place.set_xticks([])
            place.set_yticks([])
            place.grid(False)
            if row == 0:
                place.set_xlabel(f"first component, {shares[0]:.0%}")
                place.set_ylabel(f"second, {shares[1]:.0%}")
                if label is not None:
                    legend_above(place, columns=3)
                else:
                    place.set_title(f"by {by}: {len(colours)} of them")
            elif column == 0:
                place.set_ylabel("t-SNE")
    return figure


def _colours(values: pd.Series, by: str) -> Mapping[str, object]:
    """Return a colour for each value: emotions have their own, few others those of every figure, many others hues all round."""
    names = sorted(values.astype("str").unique())
    if by == "emotion":
        return {name: EMOTION_COLOURS[name] for name in EMOTIONS if name in names}
    if len(names) <= len(CYCLE):
        return dict(zip(names, CYCLE, strict=False))
    hues = matplotlib.colormaps["hsv"](np.linspace(0, 1, len(names), endpoint=False))
    return dict(zip(names, hues, strict=True))
