"""Several experiments on several test sets: a panel per test set."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ser_mlops.scores.figures.style import BLUE, FAINT, GREY, PERCENT, broken, styled, titled

PANEL_INCHES, ROW_INCHES, PANELS_BESIDE = 2.6, 0.42, 3


@styled
def overview_points(cells: pd.DataFrame, tests: pd.DataFrame, score: str, title: str, note: str = "") -> Figure:
    """Draw a point and its 95 % interval per experiment, a panel per test set; filled where the difference from the baseline is claimed.

    `cells` and `tests` are those of an `Overview`; where the score is the UAR, a dotted line is chance.
    """
    experiments = list(dict.fromkeys(cells["experiment"]))
    shown = list(tests.index)
    columns = min(PANELS_BESIDE, len(shown))
    rows = -(-len(shown) // columns)
    figure = titled(2.4 + PANEL_INCHES * columns, 0.9 + rows * (0.8 + ROW_INCHES * len(experiments)), title, note)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, test in zip(panels, shown, strict=False):
        for row in cells[cells["test"] == test].itertuples():
            place, colour = experiments.index(row.experiment), BLUE if row.is_claimed else GREY
            if np.isfinite(row.ci_low):
                axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, linewidth=1.6)
            axes.plot(row.mean, place, "o", color=colour, markerfacecolor=colour if row.is_claimed else "white", markersize=6)
        if score == "uar":
            axes.axvline(tests.loc[test, "chance"], color=FAINT, linestyle=":", linewidth=1.2)
        axes.set_title(f"{test} ({tests.loc[test, 'speakers']} speakers)")
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_ylim(len(experiments) - 0.5, -0.5)
        axes.set_yticks(range(len(experiments)), broken(experiments))
        axes.grid(axis="y", visible=False)
    meanings = [
        "line: 95 % interval",
        "dotted: chance" * (score == "uar"),
        "filled: differs from the first row" * bool(cells["is_claimed"].any()),
    ]
    figure.supxlabel("; ".join(filter(None, meanings)), fontsize="medium")
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    return figure
