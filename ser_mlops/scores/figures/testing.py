"""One test set: confusion matrix and calibration; several test sets: UAR of every training on each."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_mlops.scores.figures.style import (
    BLUE,
    FAINT,
    GREY,
    INK,
    LETTER_INCHES,
    ORANGE,
    PERCENT,
    SHADES,
    VERMILLION,
    broken,
    legend_above,
    percent,
    styled,
    titled,
)


@styled
def confusion(counts_EE: np.ndarray, emotions: Sequence[str], title: str, note: str = "", rounds: int = 1) -> Figure:
    """Draw a confusion matrix: the share of each emotion's clips by colour and number, the count below.

    Args:
        counts_EE: clips by true label (rows) and predicted label (columns); rows without clips are left out.
        emotions: the names of the classes.
        rounds: how often every clip was counted; the numbers are means per round, so that they add up to the clips.
    """
    counts_EE = np.asarray(counts_EE) / rounds
    present = counts_EE.sum(axis=1) > 0
    counts = counts_EE[present]
    shares = counts / counts.sum(axis=1, keepdims=True)
    names = [emotion for emotion, is_present in zip(emotions, present, strict=True) if is_present]
    figure = titled(7.4, 1.9 + 0.62 * len(names), title, note)
    axes = figure.subplots()
    image = _shaded(axes, shares, [f"{name} ({total:,.0f})" for name, total in zip(names, counts.sum(axis=1), strict=True)], emotions)
    for row, column in np.ndindex(*shares.shape):
        is_right = names[row] == emotions[column]
        _write_in_cell(axes, row, column, percent(shares[row, column], 0), _count(counts[row, column]), shares[row, column], is_right)
    axes.set_xlabel("predicted emotion")
    axes.set_ylabel("true emotion (clips)")
    _shade_bar(figure, axes, image, "share of the emotion's clips")
    return figure


def _count(mean: float) -> str:
    """Return a number of clips; a mean over rounds has a decimal where it needs one."""
    return f"{mean:,.0f}" if float(mean).is_integer() else f"{mean:,.1f}"


def _shaded(axes: Axes, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> matplotlib.image.AxesImage:
    image = axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(rows) - 1), minor=True)
    axes.grid(False)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def _write_in_cell(axes: Axes, row: int, column: int, text: str, below: str, shade: float, bold: bool) -> None:
    colour = "white" if shade > 0.55 else INK
    axes.text(column, row - 0.02, text, ha="center", va="bottom", color=colour, fontsize=10, fontweight="bold" if bold else "normal")
    axes.text(column, row + 0.06, below, ha="center", va="top", color=colour, fontsize=8)


def _shade_bar(figure: Figure, axes: Axes, image: matplotlib.image.AxesImage, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, label=label, fraction=0.04, pad=0.02, format=PERCENT)
    bar.outline.set_visible(False)


@styled
def reliability(bins: pd.DataFrame, ece: float, title: str, note: str = "", rounds: int = 1) -> Figure:
    """Draw the accuracy in each bin of confidence, and the number of clips in each bin.

    Args:
        bins: one row per bin of confidence, as `calibration` returns them: low, high, clips, confidence, accuracy.
        ece: expected calibration error, in [0, 1].
        rounds: how often every clip was counted.
    """
    figure = titled(5.6, 5.4, title, note)
    accuracy, clips = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = bins[bins["clips"] > 0]
    width = (filled["high"] - filled["low"]) * 0.92
    centre = (filled["high"] + filled["low"]) / 2
    accuracy.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.2, label="perfect calibration")
    accuracy.bar(centre, filled["accuracy"], width, color=BLUE, label="accuracy")
    accuracy.plot(
        filled["confidence"],
        filled["accuracy"],
        "o",
        color=VERMILLION,
        markeredgecolor="white",
        markersize=6,
        label="at its mean confidence",
    )
    accuracy.text(0.03, 0.95, f"ECE {percent(ece)}", transform=accuracy.transAxes, va="top", fontsize=11, fontweight="bold")
    accuracy.set_ylim(0, 1.02)
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PERCENT)
    legend_above(accuracy)
    clips.bar(centre, filled["clips"] / rounds, width, color=GREY)
    clips.set_ylabel("clips" if rounds == 1 else "clips per round")
    clips.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    clips.set_xlim(0, 1)
    clips.set_xlabel("confidence (largest probability)")
    clips.xaxis.set_major_formatter(PERCENT)
    return figure


@styled
def cross_corpus(uar: pd.DataFrame, shared: pd.DataFrame, chance: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every training (row) on every test set (column), chance below.

    Where every test set has a single training, or all have the same (leave one out, cross), bars take the place of a heat map, whose other
    cells would be empty by design. Chance is that of the emotions which both sides have, so where a side lacks some, the UAR over the
    shared ones stands beside it.

    Args:
        uar: in [0, 1]; one row per training, one column per test set.
        shared: the UAR over the emotions that training and test share; the same rows and columns, as are those of `chance`.
    """
    if len(uar) == 1 or (uar.notna().sum(axis=0) == 1).all():
        return _test_bars(uar, shared, chance, title, note)
    rows = broken(uar.index)
    letters = max(len(line) for row in rows for line in row.split("\n"))
    figure = titled(2.0 + LETTER_INCHES * letters + 1.15 * uar.shape[1], 1.8 + 0.68 * uar.shape[0], title, note)
    axes = figure.subplots()
    shares = uar.to_numpy(dtype=float)
    differs = bool((np.isfinite(shared) & (shared.to_numpy() != shares)).any(axis=None))
    image = _shaded(axes, shares, rows, ["\n".join(name.rsplit("_", 1)) for name in map(str, uar.columns)])
    for row, column in np.ndindex(*shares.shape):
        value = shares[row, column]
        if np.isfinite(value):
            is_own = uar.index[row] == uar.columns[column]
            below = f"chance {percent(chance.iloc[row, column], 0)}" if np.isfinite(chance.iloc[row, column]) else ""
            if np.isfinite(shared.iloc[row, column]) and shared.iloc[row, column] != value:
                below = f"shared {percent(shared.iloc[row, column])}\n{below}"
            _write_in_cell(axes, row, column, percent(value), below, value, is_own)
    axes.set_xlabel("tested on (shared, chance: over the emotions of both corpora)" if differs else "tested on")
    axes.set_ylabel("trained on")
    _shade_bar(figure, axes, image, "UAR")
    return figure


def _test_bars(uar: pd.DataFrame, shared: pd.DataFrame, chance: pd.DataFrame, title: str, note: str) -> Figure:
    """Draw a bar per test set, its chance level as a mark; arguments as in `cross_corpus`, one value a column."""
    trained = [uar[test].first_valid_index() for test in uar]
    values, over_shared, levels = (
        np.array([table.loc[training, test] for training, test in zip(trained, uar, strict=True)], dtype=float)
        for table in (uar, shared, chance)
    )
    names = broken(f"{test}, trained on {training}" for training, test in zip(trained, uar, strict=True))
    figure = titled(8.4, 1.8 + 0.34 * len(names) + 0.17 * sum(name.count("\n") for name in names), title, note)
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places, values, height=0.62, color=BLUE, label="UAR")
    differs = np.isfinite(over_shared) & (over_shared != values)
    if differs.any():
        axes.plot(over_shared[differs], places[differs], "D", color=ORANGE, markeredgecolor=INK, markersize=6, label="UAR, shared emotions")
    for place, level in zip(places, levels, strict=True):
        axes.plot([level, level], [place - 0.4, place + 0.4], color=VERMILLION, linewidth=2)
    axes.plot([], [], color=VERMILLION, linewidth=2, label="chance (shared emotions)")
    for place, value, other, has_other in zip(places, values, over_shared, differs, strict=True):
        text, end = (f"{percent(value)}, shared {percent(other)}", max(value, other)) if has_other else (percent(value), value)
        axes.annotate(text, (end, place), (8, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.25)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("UAR of the test set")
    legend_above(axes)
    return figure
