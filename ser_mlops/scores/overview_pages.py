"""An overview as Markdown, LaTeX (booktabs) and HTML."""

import re
from functools import partial
from html import escape

import pandas as pd

from ser_mlops.scores.overview import CELLS, MARK, Overview
from ser_mlops.scores.tables import markdown

MEANINGS = {
    "sd": "mean {} ± standard deviation over rounds",
    "interval": "mean {} over rounds and 95 % interval (over speakers and, with several rounds, seeds)",
}
assert tuple(MEANINGS) == CELLS
SPREADS = {"sd": "sd", "interval": "ci_low"}
"""Column of a cell's spread."""
WITHOUT_SPREAD = {"sd": "{} of one round", "interval": "mean {} over rounds; none has an interval"}
"""What the cells are where none has a spread."""
as_html = partial(escape, quote=False)
COLUMNS_BESIDE_TEXT = 2
"""Test sets that fit into one of a page's two columns; a table of more spans both."""
LETTERS_IN_SIZES = {"": 50, "\\small": 54, "\\footnotesize": 58, "\\scriptsize": 65}
"""Letters of a row that fit into one column of a page, twice as many into both; measured in Computer Modern on 240 and 480 pt."""
LATEX_SIGNS = {"±": r"$\pm$", "†": r"$^{\dagger}$", "%": r"\%"}


def caption(overview: Overview, cell: str) -> str:
    """Return the sentence that says what the cells are, what is bold and what is marked."""
    has_spread = overview.cells[SPREADS[cell]].notna().any()
    meaning = (MEANINGS if has_spread else WITHOUT_SPREAD)[cell].format(overview.score_name)
    said = f"{meaning[0].upper()}{meaning[1:]}. Bold: the best of a column."
    if overview.num_tested:
        said += (
            f" {MARK}: the difference from {overview.baseline} is significant "
            f"(p < 0.05 over speakers and over rounds, Holm over the table's {overview.num_tested} test{'s' * (overview.num_tested > 1)})."
        )
    elif overview.cells["experiment"].nunique() > 1:
        said += f" No difference from {overview.baseline} could be tested."
    return said


def overview_markdown(overview: Overview, cell: str, title: str, note: str = "") -> str:
    """Return the page in Markdown."""
    table = markdown(overview.text(cell, bold="**{}**").reset_index())
    warning = [f"**{note}**"] if note else []
    cautions = ["## Notes", "\n".join(f"- {text}" for text in overview.notes)] if overview.notes else []
    return "\n\n".join([f"# {title}", *warning, table, caption(overview, cell), *cautions]) + "\n"


def overview_html(overview: Overview, cell: str, title: str, note: str = "") -> str:
    """Return the page in HTML, as MLflow shows it."""
    table = overview.text(cell, bold="<b>{}</b>").rename_axis(index=None)
    styled = table.style.format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    styled = styled.set_table_attributes('style="border-collapse: collapse; font: 14px sans-serif"')
    styled = styled.set_table_styles(
        [{"selector": "th, td", "props": "padding: 4px 12px; text-align: left; border-bottom: 1px solid #ddd"}]
    )
    warning = f"<p><b>{as_html(note)}</b></p>" if note else ""
    told = [re.sub("`(.+?)`", r"<code>\1</code>", as_html(text)) for text in overview.notes]
    cautions = "".join(f"<li>{text}</li>" for text in told)
    page = f"<h1>{as_html(title)}</h1>{warning}{styled.to_html()}<p>{as_html(caption(overview, cell))}</p><ul>{cautions}</ul>"
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{as_html(title)}</title><body>{page}</body></html>\n'


def overview_latex(overview: Overview, cell: str, note: str = "") -> str:
    r"""Return a table as LaTeX floats it; its preamble needs \usepackage{booktabs}."""
    table = overview.text(cell, bold=r"\textbf{{{}}}").rename_axis(index=None)
    is_beside_text = table.shape[1] <= COLUMNS_BESIDE_TEXT
    styled = table.style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    said = f"{caption(overview, cell)} {note.capitalize()}".strip()
    text = styled.to_latex(
        hrules=True,
        column_format="l" + "c" * table.shape[1],
        caption=_as_latex(said),
        position="t",
        position_float="centering",
        environment="table" if is_beside_text else "table*",
    )
    size = _size(overview.text(cell, bold="{}").reset_index(), 1 if is_beside_text else 2)
    text = text.replace("\n\\begin{tabular}", f"\n\\medskip{size}\n\\begin{{tabular}}")
    for sign, command in LATEX_SIGNS.items():
        text = text if sign == "%" else text.replace(sign, command)
    first_below = "chance &" if "chance" in table.index else "speakers &"
    return text.replace(f"\n{first_below}", f"\n\\midrule\n{first_below}")


def _size(table: pd.DataFrame, columns_of_page: int) -> str:
    """Return the largest size of letters in which the rows fit into the columns of the page that they have, or the smallest of all."""
    widths = [max(map(len, (name, *map(str, texts)))) for name, texts in table.items()]
    letters = (sum(widths) + 2.4 * len(widths)) / columns_of_page
    return next((size for size, fitting in LETTERS_IN_SIZES.items() if letters <= fitting), [*LETTERS_IN_SIZES][-1])


def _as_latex(text: str) -> str:
    """Escape what LaTeX would take for a command in the names of experiments."""
    for sign, command in (("\\", r"\textbackslash "), *((sign, f"\\{sign}") for sign in "&%$#_{}"), ("<", r"$<$"), (">", r"$>$")):
        text = text.replace(sign, command)
    return text
