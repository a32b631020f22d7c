"""The one way to write a DataFrame as a Markdown table."""

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
