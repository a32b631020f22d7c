"""The one way to write a DataFrame as a Markdown table, and a difference of shares in percentage points."""

import pandas as pd
from pandas.api.types import is_numeric_dtype


def markdown(table: pd.DataFrame, floats: str = ".4f") -> str:
    """Return a table as Markdown, numbers on the right; a missing value is an empty cell, and `floats` is the format of the others.

    >>> print(markdown(pd.DataFrame({"score": ["uar", "loss"], "mean": [0.5, float("nan")]})))
    | score   |   mean |
    |:--------|-------:|
    | uar     | 0.5000 |
    | loss    |        |
    """
    sides = ["right" if is_numeric_dtype(table[column]) else "left" for column in table]
    return table.map(lambda value: _cell(value, floats)).to_markdown(index=False, disable_numparse=True, colalign=sides)


def _cell(value: object, floats: str) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else format(value, floats)
    return str(value).replace("|", r"\|")


def points(difference: float) -> str:
    """Return a difference of shares in percentage points.

    >>> points(0.0125), points(-0.5), points(0.0)
    ('+1.2 points', '−50.0 points', '0.0 points')
    """
    return f"{_signed(difference)} points"


def points_between(low: float, high: float) -> str:
    """Return an interval of differences of shares in percentage points.

    >>> points_between(-0.127, 0.136)
    '−12.7 to +13.6 points'
    """
    return f"{_signed(low)} to {_signed(high)} points"


def _signed(difference: float) -> str:
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
