"""Learning curves of one round and of all rounds of an experiment, and which layers a head has learned to hear."""

from collections.abc import Mapping
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ser_mlops.scores.figures.style import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    LINE_INCHES,
    PERCENT,
    VERMILLION,
    entry_inches,
    legend_above,
    styled,
    titled,
)

DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


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
def layer_shares(shares: pd.Series, title: str, note: str = "") -> Figure:
    """Draw how much a head takes of every layer, the input of the first one being layer 0; equal shares are a line."""
    figure = titled(max(5.0, 1.5 + 0.28 * len(shares)), 3.4, f"Which layer hears emotion: {title}", note)
    axes = figure.subplots()
    axes.bar(range(len(shares)), shares.to_numpy(), color=BLUE, width=0.75)
    axes.axhline(1 / len(shares), color=INK, linestyle="--", linewidth=1, label="at first: all alike")
    axes.set_xlabel("layer (0: the input of the first)")
    axes.set_ylabel("share of the learned sum")
    axes.yaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


@styled
def rounds_curves(
    histories: Mapping[tuple[str, int], pd.DataFrame], best_epochs: Mapping[tuple[str, int], int], title: str, note: str = ""
) -> Figure:
    """Draw all rounds over one another, by training and round; the chosen epoch of each is a large dot. Columns as in `round_curves`.

    The rounds of one training share its colour, and the same round of all trainings its dashes; more trainings of a single round than there
    are colours differ by their dashes.
    """
    trainings = list(dict.fromkeys(training for training, _ in histories))
    rounds = list(dict.fromkeys(number for _, number in histories))
    colours = {training: CYCLE[position % len(CYCLE)] for position, training in enumerate(trainings)}
    is_one_round = len(rounds) == 1
    dashes = {
        (training, number): DASHES[(position // len(CYCLE) if is_one_round else order) % len(DASHES)]
        for position, training in enumerate(trainings)
        for order, number in enumerate(rounds)
    }
    entries = [Line2D([], [], color=colours[name], linestyle=dashes[name, rounds[0]], label=name) for name in trainings]
    entries += [
        Line2D([], [], color=INK, linestyle=dashes[trainings[0], number], label=f"round {number}") for number in rounds if not is_one_round
    ]
    columns = max(1, int(10.5 / entry_inches(trainings)))
    figure = titled(11, 3.7 + LINE_INCHES * -(-len(entries) // columns), title, note)
    panels = figure.subplots(1, 3)
    for axes, (column, name) in zip(
        panels,
        {"train/loss": "training loss (nats)", "val/loss": "validation loss (nats)", "val/uar": "validation UAR"}.items(),
        strict=True,
    ):
        for (training, number), history in histories.items():
            axes.plot(history["epoch"], history[column], dashes[training, number], color=colours[training])
            chosen = history[history["epoch"] == best_epochs[training, number]]
            axes.plot(chosen["epoch"], chosen[column], "o", color=colours[training], markersize=8, markeredgecolor="white")
        axes.set_ylabel(name)
        _whole_epochs(axes)
    panels[2].yaxis.set_major_formatter(PERCENT)
    figure.legend(handles=entries, loc="outside lower left", ncols=columns)
    return figure


def _whole_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
