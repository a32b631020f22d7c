"""Every picture of the laboratory, in one look: plain tables in, a matplotlib Figure out.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart by colour-blind readers; each emotion keeps its own in
every picture. Nothing here touches pyplot or the global style: a figure is drawn inside `STYLE` and belongs to its caller.
`note` is written in the corner of the picture, where a reader cannot miss it ("synthetic data").
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from textwrap import fill, wrap
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.interpolate import griddata

from ser_mlops.emotions import EMOTIONS
from ser_mlops.files import replacing
from ser_mlops.scores.metrics import LOWER_IS_BETTER

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7A7A7A"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
EMOTION_COLOURS = dict(zip(EMOTIONS, (GREY, ORANGE, BLUE, VERMILLION, PURPLE, GREEN, SKY), strict=True))
INK, FAINT = "#222222", "#6B6B6B"
SHADES = "Blues"
TITLE_LETTER_INCHES, LETTER_INCHES = 0.12, 0.085
"""Width of a letter of the title and of the legend, on the safe side: to break lines before they leave the picture."""
LABEL_LETTERS = 26
LINE_INCHES = 0.21
DOTS_PER_INCH = 110
STYLE: Any = {
    "figure.dpi": DOTS_PER_INCH,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
PERCENT = FuncFormatter(lambda share, position: f"{round(100 * share, 6):g} %")

Arguments = ParamSpec("Arguments")


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw inside STYLE and leave matplotlib's own settings as they were."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    with replacing(path) as aside, matplotlib.rc_context(STYLE):
        figure.savefig(aside, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})


def titled(width: float, height: float, title: str, note: str) -> Figure:
    """Begin a figure of so many inches (and a little more for a long title), its title on the left above, its note below."""
    lines = wrap(title, int(width / TITLE_LETTER_INCHES))
    figure = Figure(figsize=(width, height + LINE_INCHES * max(0, len(lines) - 1)))
    figure.suptitle("\n".join(lines), x=0.1 / width, ha="left", fontsize=12, fontweight="bold")
    if note:
        figure.supxlabel(note, x=1 - 0.1 / width, ha="right", fontsize=9, fontweight="bold", color=VERMILLION)
    return figure


def legend_above(axes: Axes, columns: int = 4) -> None:
    """Put the legend between title and axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handlelength=1.6, columnspacing=1.4)


def _broken(names: Iterable[object]) -> list[str]:
    """Break long names beside an axis into lines."""
    return [fill(str(name).replace("+", " + "), LABEL_LETTERS) for name in names]


def _entry_inches(names: Iterable[str]) -> float:
    """Return the width of a legend's entry."""
    return 0.55 + LETTER_INCHES * max(len(name) for name in names)


def _percent(value: float, decimals: int = 1) -> str:
    return f"{100 * value:.{decimals}f} %"


def _whole_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


# Training


@styled
def round_curves(history: pd.DataFrame, best_epoch: int, title: str, note: str = "") -> Figure:
    """Draw one round: the loss on both sides, and the validation scores, with the chosen epoch marked.

    Args:
        history: one row per epoch with the columns epoch, train/loss, val/loss, val/accuracy and val/uar.
    """
    figure = titled(9, 3.8, title, note)
    losses, scores = figure.subplots(1, 2)
    epochs = history["epoch"]
    for axes, columns in (
        (losses, {"train/loss": "training", "val/loss": "validation"}),
        (scores, {"val/accuracy": "accuracy", "val/uar": "UAR"}),
    ):
        for colour, dashes, (column, name) in zip((BLUE, VERMILLION), ("-", "--"), columns.items(), strict=True):
            axes.plot(epochs, history[column], dashes, marker="o", color=colour, label=name)  # dashed: it may lie on the other
        axes.axvline(best_epoch, color=GREEN, linestyle="--", linewidth=1.2, zorder=1, label=f"chosen: epoch {best_epoch}")
        _whole_epochs(axes)
        legend_above(axes)
    losses.set_ylabel("cross-entropy (nats)")
    scores.set_ylabel("validation score")
    scores.yaxis.set_major_formatter(PERCENT)
    return figure


@styled
def rounds_curves(histories: Mapping[str, pd.DataFrame], best_epochs: Mapping[str, int], title: str, note: str = "") -> Figure:
    """Draw all rounds over one another, by their names; the chosen epoch of each is a large dot. Columns as in `round_curves`."""
    columns = max(1, int(10.5 / _entry_inches(histories)))
    figure = titled(11, 3.7 + LINE_INCHES * -(-len(histories) // columns), title, note)
    panels = figure.subplots(1, 3)
    for axes, (column, name) in zip(
        panels,
        {"train/loss": "training loss (nats)", "val/loss": "validation loss (nats)", "val/uar": "validation UAR"}.items(),
        strict=True,
    ):
        for position, (round_name, history) in enumerate(histories.items()):
            colour = CYCLE[position % len(CYCLE)]
            dashes = ("-", "--", ":", "-.")[position // len(CYCLE) % 4]
            axes.plot(history["epoch"], history[column], dashes, color=colour, label=round_name)
            chosen = history[history["epoch"] == best_epochs[round_name]]
            axes.plot(chosen["epoch"], chosen[column], "o", color=colour, markersize=8, markeredgecolor="white")
        axes.set_ylabel(name)
        _whole_epochs(axes)
    panels[2].yaxis.set_major_formatter(PERCENT)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=columns)
    return figure


# One test set


@styled
def confusion(counts_EE: np.ndarray, title: str, note: str = "") -> Figure:
    """Draw a confusion matrix: the share of each emotion's clips by colour and number, the count beneath.

    Args:
        counts_EE: clips by true label (rows) and predicted label (columns), all seven of each; rows without clips are left out.
    """
    counts_EE = np.asarray(counts_EE)
    present = counts_EE.sum(axis=1) > 0
    counts = counts_EE[present]
    shares = counts / counts.sum(axis=1, keepdims=True)
    names = [emotion for emotion, is_present in zip(EMOTIONS, present, strict=True) if is_present]
    figure = titled(7.4, 1.9 + 0.62 * len(names), title, note)
    axes = figure.subplots()
    image = _shaded(axes, shares, [f"{name} ({total:,})" for name, total in zip(names, counts.sum(axis=1), strict=True)], EMOTIONS)
    for row, column in np.ndindex(*shares.shape):
        is_right = names[row] == EMOTIONS[column]
        _write_in_cell(axes, row, column, _percent(shares[row, column], 0), f"{counts[row, column]:,}", shares[row, column], is_right)
    axes.set_xlabel("predicted emotion")
    axes.set_ylabel("true emotion (clips)")
    _shade_bar(figure, axes, image, "share of the emotion's clips")
    return figure


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
def reliability(bins: pd.DataFrame, ece: float, title: str, note: str = "") -> Figure:
    """Draw how often the model is right when it is so sure, and how often it is so sure.

    Args:
        bins: one row per bin of confidence, as `statistics.calibration` returns them: low, high, clips, confidence, accuracy.
        ece: expected calibration error, in [0, 1].
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
    accuracy.text(0.03, 0.95, f"ECE {_percent(ece)}", transform=accuracy.transAxes, va="top", fontsize=11, fontweight="bold")
    accuracy.set_ylim(0, 1.02)
    accuracy.set_ylabel("accuracy")
    accuracy.yaxis.set_major_formatter(PERCENT)
    legend_above(accuracy)
    clips.bar(centre, filled["clips"], width, color=GREY)
    clips.set_ylabel("clips")
    clips.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    clips.set_xlim(0, 1)
    clips.set_xlabel("confidence (largest probability)")
    clips.xaxis.set_major_formatter(PERCENT)
    return figure


# Data


@styled
def distribution(counts: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the emotions of each side (training, validation, test; or of each corpus) as shares, with the number of clips on each bar.

    Args:
        counts: clips; one row per emotion in class order, one column per side.
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
        axes.set_ylabel("share of the side's clips")
    return figure


# Several trainings


@styled
def rounds_comparison(
    values: pd.DataFrame, summary: pd.DataFrame, metric: str, title: str, note: str = "", chance: float | None = None
) -> Figure:
    """Draw a score of several experiments (or test sets): a dot per round, the mean and its interval.

    Args:
        values: one row per experiment, one column per round.
        summary: the same rows with the columns mean, ci_low, ci_high.
        metric: the name on the axis.
    """
    figure = titled(8, 1.6 + 0.6 * len(values), title, note)
    axes = figure.subplots()
    for position, name in enumerate(values.index):
        mean, low, high = summary.loc[name, ["mean", "ci_low", "ci_high"]]
        colour = CYCLE[position % len(CYCLE)]
        axes.plot([low, high], [position, position], color=colour, linewidth=5, alpha=0.3, solid_capstyle="round")
        axes.plot(values.loc[name], np.full(values.shape[1], position), "o", color=colour, markeredgecolor="white", markersize=7)
        axes.plot(mean, position, "|", color=INK, markersize=20, markeredgewidth=2)
        axes.annotate(_percent(mean), (mean, position), (0, 11), textcoords="offset points", ha="center", fontsize=9)
    _mark_chance(axes, chance)
    axes.set_yticks(range(len(values)), _broken(values.index))
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{metric}: dots are rounds, the line their mean, the band its 95 % interval")
    axes.xaxis.set_major_formatter(PERCENT)
    return figure


def _mark_chance(axes: Axes, chance: float | None) -> None:
    if chance is not None:
        axes.axvline(chance, color=FAINT, linestyle=":", linewidth=1.4)
        axes.annotate(
            "chance",
            (chance, 1),
            (3, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=FAINT,
        )


@styled
def cross_corpus(uar: pd.DataFrame, shared: pd.DataFrame, chance: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every training (row) on every test set (column), chance beneath; cells without a value stay empty.

    Chance is that of the emotions which both sides have, so where a side lacks some, the UAR over the shared ones stands beside it.

    Args:
        uar: in [0, 1]; one row per training, one column per test set.
        shared: the UAR over the emotions that training and test share; the same rows and columns, as are those of `chance`.
    """
    rows = _broken(uar.index)
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
            below = f"chance {_percent(chance.iloc[row, column], 0)}" if np.isfinite(chance.iloc[row, column]) else ""
            if np.isfinite(shared.iloc[row, column]) and shared.iloc[row, column] != value:
                below = f"shared {_percent(shared.iloc[row, column])}\n{below}"
            _write_in_cell(axes, row, column, _percent(value), below, value, is_own)
    axes.set_xlabel("tested on (shared: the emotions of both sides, which chance is of)" if differs else "tested on")
    axes.set_ylabel("trained on")
    _shade_bar(figure, axes, image, "UAR")
    return figure


# Comparisons (the tables of `statistics.Comparison`)


def comparison_figures(
    rounds: pd.DataFrame, scores: pd.DataFrame, differences: pd.DataFrame, groups: pd.DataFrame, note: str = ""
) -> dict[str, Figure]:
    """Return every figure of a comparison by file name; a grouping with a single value has none. Arguments as in `Comparison`."""
    uar = scores[scores["score"] == "uar"].set_index("experiment")
    figures = {
        "rounds.png": rounds_comparison(rounds, uar, "test UAR", "Test UAR of the experiments", note),
        "differences.png": difference_intervals(differences[differences["score"] == "uar"], "Difference in test UAR", note),
    }
    for grouping, chosen in groups.groupby("grouping", sort=False):
        if chosen["value"].nunique() > 1:
            draw = speaker_dots if grouping == "speaker" else group_bars
            figures[f"by_{grouping}.png"] = draw(chosen, f"Test UAR by {grouping}", note)
    return figures


def _points(difference: float, decimals: int = 0) -> str:
    return f"{100 * difference:+.{decimals}f}".replace("-", "−") if difference else "0"


@styled
def difference_intervals(differences: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the differences of pairs with their intervals, filled where a difference is claimed."""
    figure = titled(8.4, 1.7 + 0.75 * len(differences), title, note)
    axes = figure.subplots()
    axes.axvline(0, color=FAINT, linewidth=1.2)
    for position, row in enumerate(differences.itertuples()):
        is_claimed = row.verdict == "differs"
        colour = BLUE if is_claimed else FAINT
        axes.plot([row.ci_low, row.ci_high], [position, position], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.difference, position, "o", color=colour, markersize=8, markerfacecolor=colour if is_claimed else "white")
        axes.annotate(
            f"{_points(row.difference, 1)} points, p {row.p_holm:.4f}",
            (row.difference, position),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    pairs = zip(_broken(differences["experiment"]), _broken(differences["baseline"]), strict=True)
    axes.set_yticks(range(len(differences)), [f"{experiment}\n− {baseline}" for experiment, baseline in pairs])
    axes.set_ylim(len(differences) - 0.5, -0.75)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: _points(value)))
    axes.set_xlabel("difference in UAR (points) with 95 % interval; filled: a difference is claimed")
    return figure


@styled
def group_bars(groups: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every value of a grouping, a bar with its interval per experiment."""
    values, experiments = list(dict.fromkeys(groups["value"])), list(dict.fromkeys(groups["experiment"]))
    width = max(6.0, 1.8 + 0.45 * len(values) * (len(experiments) + 1), 1 + _entry_inches(experiments))
    figure = titled(width, 4.2, title, note)
    axes = figure.subplots()
    step = 0.8 / len(experiments)
    for position, experiment in enumerate(experiments):
        rows = groups[groups["experiment"] == experiment].set_index("value").loc[values]
        at = np.arange(len(values)) + (position - (len(experiments) - 1) / 2) * step
        axes.bar(at, rows["uar"], step * 0.92, color=CYCLE[position % len(CYCLE)], label=experiment)
        spread = np.array([rows["uar"] - rows["ci_low"], rows["ci_high"] - rows["uar"]]).clip(min=0)
        axes.errorbar(at, rows["uar"], spread, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    first = groups[groups["experiment"] == experiments[0]].set_index("value").loc[values]
    told = [f"{row.Index}\n{row.clips:,} clips, {row.speakers:,} speaker{'s' * (row.speakers > 1)}" for row in first.itertuples()]
    axes.set_xticks(range(len(values)), told)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("UAR, with 95 % interval")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_above(axes, int((width - 1) / _entry_inches(experiments)))
    return figure


@styled
def speaker_dots(groups: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every speaker, in the order of the first experiment's."""
    experiments = list(dict.fromkeys(groups["experiment"]))
    order = groups[groups["experiment"] == experiments[0]].sort_values("uar")["value"]
    width = max(6.0, min(14.0, 1.6 + 0.2 * len(order)), 1 + _entry_inches(experiments))
    figure = titled(width, 4.4, title, note)
    axes = figure.subplots()
    for position, experiment in enumerate(experiments):
        rows = groups[groups["experiment"] == experiment].set_index("value").loc[order]
        colour = CYCLE[position % len(CYCLE)]
        axes.plot(range(len(order)), rows["uar"], "o", color=colour, markersize=5.5, label=experiment)
        axes.axhline(rows["uar"].mean(), color=colour, linewidth=1, linestyle="--", zorder=1)
    if len(order) <= 60:
        axes.set_xticks(range(len(order)), order, rotation=90, fontsize=8)
    else:
        axes.set_xticks([])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(f"{len(order)} speakers, ordered by the first experiment; dashed: their mean")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("UAR")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_above(axes, int((width - 1) / _entry_inches(experiments)))
    return figure


# Sweeps. A table of trials has the columns number and value and one column per parameter; `log` names those searched on a log scale. The
# last word of `metric` is a score of `metrics`: it says which way is better.


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
        axes.annotate(_percent(share, 0), (share, position), (4, 0), textcoords="offset points", va="center", fontsize=9)
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
        show = _percent if column == "value" and not _is_loss(metric) else "{:.3g}".format
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
def trial_curves(values: pd.DataFrame, metric: str, title: str, note: str = "", pruned: Collection[int] = ()) -> Figure:
    """Draw what each trial reported on its way; pruned trials are grey, the best final value is on top.

    Args:
        values: one row per report with the columns number, step and value.
        pruned: numbers of the pruned trials.
    """
    figure = titled(7.6, 4.0, title, note)
    axes = figure.subplots()
    curves = {int(number): rows.sort_values("step") for number, rows in values.groupby("number")}
    complete = {number: rows["value"].iloc[-1] for number, rows in curves.items() if number not in pruned}
    for number, rows in curves.items():
        axes.plot(rows["step"], rows["value"], color="#A8A8A8" if number in pruned else SKY, linewidth=1.2, marker=".")
    if complete:
        best = _best(pd.Series(complete), metric)
        axes.plot(curves[best]["step"], curves[best]["value"], color=VERMILLION, marker="o", label=f"best: trial {best}")
    axes.plot([], [], color=SKY, label="complete")
    axes.plot([], [], color="#A8A8A8", label="pruned")
    _trial_axes(axes, "step", metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_above(axes)
    return figure


# One recording


@styled
def over_time(wave: np.ndarray, sample_rate: int, windows: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw a recording's waveform and, beneath it, the probabilities of each window, stacked to 1.

    Args:
        wave: samples of which 1 is full scale.
        windows: one row per window, as `Predictor.predict` returns them: start and end in seconds, and a probability per emotion.
    """
    figure = titled(9, 4.6, title, note)
    sound, stack = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    _waveform(sound, wave, sample_rate)
    below = np.zeros(len(windows))
    for emotion, colour in EMOTION_COLOURS.items():
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
    legend_above(stack, columns=len(EMOTIONS))
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
