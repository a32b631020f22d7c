"""Several experiments side by side: their rounds, their differences, and who is served how well."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ser_mlops.scores.figures.style import BLUE, CYCLE, FAINT, INK, PERCENT, broken, entry_inches, legend_above, percent, styled, titled
from ser_mlops.scores.tables import points


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
    figure = titled(8.4, 1.8 + 0.6 * len(values), title, note)
    axes = figure.subplots()
    for position, name in enumerate(values.index):
        mean, low, high = summary.loc[name, ["mean", "ci_low", "ci_high"]]
        colour = CYCLE[position % len(CYCLE)]
        axes.plot([low, high], [position, position], color=colour, linewidth=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(values.loc[name], np.full(values.shape[1], position), "o", color=colour, markeredgecolor="white", markersize=7)
        axes.plot(mean, position, "|", color=INK, markersize=20, markeredgewidth=2)
        axes.annotate(percent(mean), (mean, position), (0, 11), textcoords="offset points", ha="center", fontsize=9)
    _mark_chance(axes, chance)
    axes.set_yticks(range(len(values)), broken(values.index))
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    covers = "speakers and seeds" if values.shape[1] > 1 else "speakers"
    band = f"band: its 95 % interval over {covers}" if summary["ci_low"].notna().any() else "no intervals"
    axes.set_xlabel(f"{metric}\ndots: rounds; line: mean; {band}")
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


def comparison_figures(
    rounds: pd.DataFrame, scores: pd.DataFrame, differences: pd.DataFrame, groups: pd.DataFrame, note: str = ""
) -> Iterator[tuple[str, Figure]]:
    """Draw every figure of a comparison, with its name; a grouping with a single value has none. Arguments as in `Comparison`."""
    uar = scores[scores["score"] == "uar"].set_index("experiment")
    yield "rounds", rounds_comparison(rounds, uar, "test UAR", "Test UAR of the experiments", note)
    yield "differences", difference_intervals(differences[differences["score"] == "uar"], "Difference in test UAR", note)
    is_nobody = (groups["grouping"] == "speaker") & groups["value"].str.endswith("unknown")
    for grouping, chosen in groups[~is_nobody].groupby("grouping", sort=False):
        if chosen["value"].nunique() > 1:
            draw = speaker_dots if grouping == "speaker" else group_bars
            yield f"by_{grouping}", draw(chosen, f"Test UAR by {grouping}", note)


@styled
def difference_intervals(differences: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the differences of pairs with their intervals, filled where a difference is claimed."""
    pairs = zip(broken(differences["experiment"]), broken(differences["baseline"]), strict=True)
    names = [f"{experiment}\n− {baseline}" for experiment, baseline in pairs]
    row_inches = max(0.75, 0.25 + 0.17 * max(1 + name.count("\n") for name in names))
    figure = titled(8.4, 1.7 + row_inches * len(differences), title, note)
    axes = figure.subplots()
    axes.axvline(0, color=FAINT, linewidth=1.2)
    for position, row in enumerate(differences.itertuples()):
        is_claimed = row.verdict == "differs"
        colour = BLUE if is_claimed else FAINT
        axes.plot([row.ci_low, row.ci_high], [position, position], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.difference, position, "o", color=colour, markersize=8, markerfacecolor=colour if is_claimed else "white")
        evidence = f"p {row.p_holm:.4f}" if np.isfinite(row.p_holm) else "too few speakers for a p"
        axes.annotate(
            f"{points(row.difference)}, {evidence}",
            (row.difference, position),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.set_yticks(range(len(differences)), names)
    axes.set_ylim(len(differences) - 0.5, -0.75)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, position: f"{round(100 * value, 6):+g}".replace("-", "−").replace("+0", "0"))
    )
    axes.set_xlabel("difference in UAR (percentage points) with 95 % interval; filled: claimed")
    return figure


@styled
def group_bars(groups: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every value of a grouping, a bar with its interval per experiment."""
    values, experiments = list(dict.fromkeys(groups["value"])), list(dict.fromkeys(groups["experiment"]))
    width = max(6.0, 1.8 + 0.45 * len(values) * (len(experiments) + 1), 1 + entry_inches(experiments))
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
    ticks = [f"{row.Index}\n{row.clips:,} clips, {row.speakers:,} speaker{'s' * (row.speakers > 1)}" for row in first.itertuples()]
    axes.set_xticks(range(len(values)), ticks)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("UAR, with 95 % interval" if groups["ci_low"].notna().any() else "UAR")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_above(axes, int((width - 1) / entry_inches(experiments)))
    return figure


@styled
def speaker_dots(groups: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Draw the UAR of every speaker, in the order of the first experiment's."""
    experiments = list(dict.fromkeys(groups["experiment"]))
    order = groups[groups["experiment"] == experiments[0]].sort_values("uar")["value"]
    width = max(6.0, min(14.0, 1.6 + 0.2 * len(order)), 1 + entry_inches(experiments))
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
    legend_above(axes, int((width - 1) / entry_inches(experiments)))
    return figure
