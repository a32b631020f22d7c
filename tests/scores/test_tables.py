"""Markdown tables, as every page of the laboratory has them."""

import pandas as pd

from ser_mlops.scores.tables import markdown


def cells_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").replace(r"\|", "¦").split("|")] for line in page.splitlines()]


def test_a_missing_value_is_an_empty_cell_and_text_stays_as_it_is() -> None:
    table = pd.DataFrame({"run": ["1e5", "a|b"], "clips": [1200, 7], "uar": [float("nan"), 0.51238]})
    header, rule, *rows = cells_of(markdown(table))
    assert header == ["run", "clips", "uar"]
    assert all(set(cell) <= set(":-") for cell in rule)
    assert rows == [["1e5", "1200", ""], ["a¦b", "7", "0.5124"]]
    assert cells_of(markdown(table, floats=".1%"))[3][2] == "51.2%"


def test_a_table_without_rows_has_its_header() -> None:
    assert cells_of(markdown(pd.DataFrame({"best": pd.Series(dtype=str), "gap": pd.Series(dtype=float)})))[0] == ["best", "gap"]
