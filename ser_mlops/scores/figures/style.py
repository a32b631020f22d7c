"""The look of every figure: colours, fonts, titles and legends, and how a figure is saved.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers can tell apart; an emotion has the same
colour in every figure. Nothing here touches pyplot or the global style: a figure is drawn inside `STYLE` and belongs to its caller.
`note` is written in the corner of the figure, where a reader cannot miss it ("synthetic data").
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from textwrap import fill, wrap
from typing import Any, ParamSpec

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ser_mlops.emotions import EMOTIONS
from ser_mlops.files import replacing

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7A7A7A"


CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)


EMOTION_COLOURS = dict(zip(EMOTIONS, (GREY, ORANGE, BLUE, VERMILLION, PURPLE, GREEN, SKY), strict=True))


INK, FAINT = "#222222", "#6B6B6B"


SHADES = "Blues"


TITLE_LETTER_INCHES, LETTER_INCHES = 0.12, 0.085
"""Width of a letter of the title and of the legend, generously estimated: lines are broken before they leave the figure."""


LABEL_LETTERS = 26


LINE_INCHES = 0.21


DOTS_PER_INCH = 110


STYLE: Any = {
    "figure.dpi": DOTS_PER_INCH,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "pdf.fonttype": 42,
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


def files_of(name: str, figures: str) -> list[str]:
    """Return the files of a figure; `figures` is png, pdf, both or none.

    >>> files_of("curves", "both")
    ['curves.png', 'curves.pdf']
    >>> files_of("curves", "none")
    []
    """
    suffixes = {"both": ("png", "pdf"), "none": ()}.get(figures, (figures,))
    return [f"{name}.{suffix}" for suffix in suffixes]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or vector PDF, as the suffix says, whole or not at all; the same figure gives the same bytes.

    A PDF holds its fonts as TrueType (Type 42), which publishers ask for.
    """
    is_pdf = path.suffix == ".pdf"
    metadata = {"CreationDate": None, "Creator": None, "Producer": None} if is_pdf else {"Software": None}
    with replacing(path) as aside, matplotlib.rc_context(STYLE):
        figure.savefig(aside, format=path.suffix.removeprefix("."), dpi=DOTS_PER_INCH, metadata=metadata)


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


def broken(names: Iterable[object]) -> list[str]:
    """Break long names beside an axis into lines."""
    return [fill(str(name).replace("+", " + "), LABEL_LETTERS) for name in names]


def entry_inches(names: Iterable[str]) -> float:
    """Return the width of a legend's entry."""
    return 0.55 + LETTER_INCHES * max(len(name) for name in names)


def percent(value: float, decimals: int = 1) -> str:
    return f"{100 * value:.{decimals}f} %"
