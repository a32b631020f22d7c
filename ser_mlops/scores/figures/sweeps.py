"""Sweeps: history, importances, contours and curves of the trials.

A table of trials has the columns number and value and one column per parameter; `log` names those searched on a log scale. The last word of
`metric` is a score of `metrics`: it says which way is better.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.interpolate import griddata

from ser_mlops.scores.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PERCENT,
    SHADES,
    SKY,
    VERMILLION,
    legend_above,
    percent,
    styled,
    titled,
)
from ser_mlops.scores.metrics import LOWER_IS_BETTER

PRUNED = "#A8A8A8"


def _is_loss(metric: str) -> bool:
    return metric.split()[-1] in LOWER_IS_BETTER


def _best(values: pd.Series, metric: str) -> Any:
    """Return the index of the best value."""
    return values.idxmin() if _is_loss(metric) else values.idxmax()


def _value_format(metric: str) -> FuncFormatter:
    return FuncFormatter(lambda value, position: f"{value:.4g}") if _is_loss(metric) else PERCENT


@styled
def trial_history(trials: pd.DataFrame, metric: str, title: str, note: str = "") -> Figure:
    """Draw the value of every complete trial in its order, and the best so far; trial 0 holds the defaults."""
    figure = titled(7.6, 4.0, title, note)
    axes = figure.subplots()
    trials = trials.dropna(subset="value").sort_values("number")
    axes.plot(trials["number"], trials["value"], "o", color=SKY, markeredgecolor=BLUE, label="trial")
    so_far = trials["value"].cummin() if _is_loss(metric) else trials["value"].cummax()
    axes.step(trials["number"], so_far, where="post", color=VERMILLION, label="best so far")
    defaults = trials[trials["number"] == 0]
    axes.plot(defaults["number"], defaults["value"], "D", color=GREEN, markersize=7, label="defaults (trial 0)")
    _trial_axes(axes, "trial", metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_above(axes)
    return figure


def _trial_axes(axes: Axes, x: str, metric: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(metric)
    axes.yaxis.set_major_formatter(_value_format(metric))


@styled
def trial_importances(importances: Mapping[str, float], title: str, note: str = "") -> Figure:
    """Draw each parameter's share of the variance of the value, largest first."""
    ranked = sorted(importances.items(), key=lambda item: item[1])
    figure = titled(7.0, 1.7 + 0.5 * len(ranked), title, note)
    axes = figure.subplots()
    axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=BLUE, height=0.62)
    for position, (_, share) in enumerate(ranked):
        axes.annotate(percent(share, 0), (share, position), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, 1.08)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("importance (share of the variance that the parameter explains)")
    return figure


@styled
def trial_contour(trials: pd.DataFrame, x: str, y: str, log: Collection[str], metric: str, title: str, note: str = "") -> Figure:
    """Draw the value over two parameters, interpolated linearly between the trials (no surface where they lie on one line)."""
    trials = trials.dropna(subset="value")
    figure = titled(7.2, 5.2, title, note)
    axes = figure.subplots()
    limits = trials["value"].min(), trials["value"].max()
    points = np.column_stack([np.log10(trials[name]) if name in log else trials[name] for name in (x, y)])
    if np.linalg.matrix_rank(points - points[0]) == 2:
        spans = [np.linspace(column.min(), column.max(), 200) for column in points.T]
        surface = griddata(points, trials["value"], tuple(np.meshgrid(*spans)), rescale=True).clip(*limits)  # else rounding leaves holes
        edges = [10**span if name in log else span for name, span in zip((x, y), spans, strict=True)]
        axes.contourf(*edges, surface, levels=np.linspace(*limits, 13), cmap=SHADES)
    axes.scatter(trials[x], trials[y], color=INK, s=62, zorder=3)
    dots = axes.scatter(
        trials[x],
        trials[y],
        c=trials["value"],
        cmap=SHADES,
        vmin=limits[0],
        vmax=limits[1],
        edgecolors="white",
        linewidths=1.2,
        s=42,
        zorder=3,
    )
    best = trials.loc[_best(trials["value"], metric)]
    axes.plot(best[x], best[y], "*", color=ORANGE, markeredgecolor=INK, markersize=17, zorder=4, label=f"best: trial {best['number']:.0f}")
    for name, set_scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if name in log:
            set_scale("log")
    axes.use_sticky_edges = False
    axes.margins(0.06)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    legend_above(axes)
    bar = figure.colorbar(dots, ax=axes, label=metric, format=_value_format(metric), fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    return figure


@styled
def trial_parallel(
    trials: pd.DataFrame, parameters: Sequence[str], log: Collection[str], metric: str, title: str, note: str = ""
) -> Figure:
    """Draw every trial as a line through its parameters to its value; better trials are darker, the best one is on top."""
    trials = trials.dropna(subset="value").sort_values(["value", "number"], ascending=[not _is_loss(metric), False])  # of equals the first
    columns = [*parameters, "value"]
    figure = titled(2.2 + 2.2 * len(columns), 4.4, title, note)
    axes = figure.subplots()
    scaled = trials[columns].apply(lambda column: np.log10(column) if column.name in log else column)
    spans = (scaled.max() - scaled.min()).where(lambda span: span > 0, 1.0)
    heights = (scaled - scaled.min()) / spans
    colours = matplotlib.colormaps[SHADES](np.linspace(0.25, 1, len(trials)))
    for colour, row in zip(colours, heights.to_numpy(), strict=True):
        axes.plot(range(len(columns)), row, color=colour, linewidth=1.4)
    axes.plot(range(len(columns)), heights.iloc[-1], color=VERMILLION, linewidth=2.6, label=f"best: trial {trials['number'].iloc[-1]:.0f}")
    for position, column in enumerate(columns):
        axes.vlines(position, 0, 1, color=FAINT, linewidth=1)
        show = percent if column == "value" and not _is_loss(metric) else "{:.3g}".format
        for height, bound in ((-0.03, trials[column].min()), (1.03, trials[column].max())):
            axes.text(position, height, show(bound), ha="center", va="top" if height < 0 else "bottom", fontsize=9)
    axes.set_xticks(range(len(columns)), [*(f"{name} (log)" if name in log else name for name in parameters), metric])
    axes.set_ylim(-0.12, 1.12)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    legend_above(axes)
    return figure


@styled
def trial_curves(values: pd.DataFrame, steps: str, metric: str, title: str, note: str = "") -> Figure:
    """Draw the values that each trial reported while it ran; pruned trials are grey, the trial with the best final value is on top.

    Args:
        values: one row per report with the columns number, step, value and is_pruned.
        steps: what a step is.
    """
    figure = titled(7.6, 4.0, title, note)
    axes = figure.subplots()
    curves = {int(number): rows.sort_values("step") for number, rows in values.groupby("number")}
    complete = {number: rows["value"].iloc[-1] for number, rows in curves.items() if not rows["is_pruned"].any()}
    best = _best(pd.Series(complete), metric) if complete else None
    named = set()
    for number, rows in curves.items():
        if number == best:
            continue
        name, colour = ("complete", SKY) if number in complete else ("pruned", PRUNED)
        axes.plot(rows["step"], rows["value"], color=colour, linewidth=1.2, marker=".", label="" if name in named else name)
        named.add(name)
    if best is not None:
        axes.plot(curves[best]["step"], curves[best]["value"], color=VERMILLION, marker="o", label=f"best: trial {best}")
    _trial_axes(axes, steps, metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_above(axes)
    return figure
