"""The mistakes of an experiment: which emotions it confuses, how sure it is of them, whose they are, and which stay from seed to seed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.figures.style import (
    BLUE,
    EMOTION_COLOURS,
    INK,
    PERCENT,
    SKY,
    VERMILLION,
    broken,
    legend_above,
    percent,
    styled,
    titled,
)

MOST_ROWS = 30
BINS = [number / 20 for number in range(21)]


@styled
def confused_pairs(pairs: pd.DataFrame, title: str, note: str = "", most: int = 15) -> Figure:
    """Draw the most frequent mistakes as shares of their emotion's clips; a point marks the opposite mistake."""
    shown = pairs.head(most)
    figure = titled(8.4, 1.5 + 0.32 * max(len(shown), 1), title, note)
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.barh(places, shown["share"], height=0.62, color=[EMOTION_COLOURS[emotion] for emotion in shown["emotion"]], label="_")
    axes.plot(
        shown["back"], places, "o", color="white", markeredgecolor=VERMILLION, markersize=6, linestyle="none", label="opposite mistake"
    )
    for place, row in zip(places, shown.itertuples(), strict=True):
        axes.annotate(
            f"{percent(row.share, 0)}, {row.clips:,.1f} clips",
            (max(row.share, 0 if np.isnan(row.back) else row.back), place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(places, [f"{emotion} → {answer}" for emotion, answer in zip(shown["emotion"], shown["answer"], strict=True)])
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max(shown[["share", "back"]].max().max(), 0.05) if len(shown) else 1)
    axes.xaxis.set_major_formatter(PERCENT)
    axes.set_xlabel("share of the emotion's clips (clips: mean per round)")
    axes.grid(axis="y", visible=False)
    legend_above(axes)
    return figure


@styled
def confidences(right: np.ndarray, wrong: np.ndarray, title: str, note: str = "") -> Figure:
    """Draw how sure the right and the wrong answers were: the share of each in bins of confidence."""
    figure = titled(7.4, 3.6, title, note)
    axes = figure.subplots()
    for values, colour, name in ((right, BLUE, "right"), (wrong, VERMILLION, "wrong")):
        if len(values):
            axes.hist(
                values, BINS, weights=np.full(len(values), 1 / len(values)), histtype="stepfilled", color=colour, alpha=0.35, linewidth=0
            )
            axes.hist(
                values,
                BINS,
                weights=np.full(len(values), 1 / len(values)),
                histtype="step",
                color=colour,
                linewidth=1.8,
                linestyle="-" if name == "right" else "--",
                label=f"{name} ({len(values):,} answers, mean {percent(float(values.mean()), 0)})",
            )
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence (probability of the answer)")
    axes.set_ylabel("share of the answers")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PERCENT)
    legend_above(axes, columns=2)
    return figure


@styled
def wrong_by_group(groups: pd.DataFrame, overall: float, title: str, note: str = "", *, in_order: bool = False) -> Figure:
    """Draw the share of wrong answers of each group of clips, with its standard deviation over rounds; a line marks that of all clips.

    Args:
        groups: rows of one grouping: value, clips, wrong, sd.
        overall: share of wrong answers over all clips.
        in_order: keep the order of the rows (lengths, levels), otherwise the worst come first, at most MOST_ROWS.
    """
    shown = groups if in_order else groups.sort_values("wrong", ascending=False, kind="stable").head(MOST_ROWS)
    names = broken(f"{row.value} ({row.clips:,})" for row in shown.itertuples())
    figure = titled(7.4, 1.4 + 0.3 * len(names) + 0.17 * sum(name.count("\n") for name in names), title, note)
    axes = figure.subplots()
    places = np.arange(len(shown))
    colours = [EMOTION_COLOURS.get(value, SKY) for value in shown["value"]]
    axes.barh(places, shown["wrong"], height=0.62, color=colours)
    axes.errorbar(shown["wrong"], places, xerr=shown["sd"].fillna(0), fmt="none", ecolor=INK, elinewidth=1.2)
    axes.axvline(overall, color=VERMILLION, linestyle="--", linewidth=1.4, label=f"all clips, {percent(overall)}")
    axes.set_yticks(places, names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PERCENT)
    cut = f", the worst {len(shown)} of {len(groups)}" if len(shown) < len(groups) else ""
    axes.set_xlabel(f"share of wrong answers (clips{cut}; line: sd over rounds)")
    axes.grid(axis="y", visible=False)
    legend_above(axes)
    return figure


@styled
def wrong_in_rounds(clips: pd.DataFrame, num_rounds: int, title: str, note: str = "") -> Figure:
    """Draw how many clips are wrong in how many rounds, by emotion, and how many there would be if every round erred by itself.

    The latter takes each clip of an emotion to be wrong with the same probability in every round (a binomial distribution): what is higher
    at both ends comes from the clips, not from the seeds.
    """
    from scipy.stats import binom

    figure = titled(7.4, 4.0, title, note)
    axes = figure.subplots()
    places = np.arange(num_rounds + 1)
    below, expected = np.zeros(num_rounds + 1), np.zeros(num_rounds + 1)
    for emotion in EMOTIONS:
        counts = np.bincount(clips.loc[clips["emotion"] == emotion, "wrong"], minlength=num_rounds + 1)
        if counts.sum():
            axes.bar(places, counts, 0.7, below, color=EMOTION_COLOURS[emotion], label=emotion, edgecolor="white", linewidth=0.6)
            below += counts
            expected += counts.sum() * binom.pmf(places, num_rounds, (counts * places).sum() / (counts.sum() * num_rounds))
    axes.plot(places, expected, "D", color="white", markeredgecolor="black", markersize=6, linestyle="none", label="if seeds alone decided")
    for place, count in zip(places, below, strict=True):
        axes.annotate(f"{count:,.0f}", (place, max(count, expected[place])), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xticks(places, ["none", *map(str, places[1:-1]), "all"] if num_rounds > 1 else ["none", "all"])
    axes.set_ylim(0, 1.12 * max(below.max(), expected.max()))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"rounds, of {num_rounds}, that get the clip wrong")
    axes.set_ylabel("clips")
    axes.grid(axis="x", visible=False)
    legend_above(axes)
    return figure
