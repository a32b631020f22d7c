"""Lays finished experiments out as the table of a paper, logged as a run of its own."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ser_mlops.experiments.comparison import choose_runs, divisions_of, names_of, read_rounds_by_test, refuse_mixed, warning_about
from ser_mlops.experiments.recording import draw
from ser_mlops.scores.figures.overview import overview_points
from ser_mlops.scores.overview import Overview, lay_out
from ser_mlops.scores.overview_pages import overview_html, overview_latex, overview_markdown
from ser_mlops.scores.predictions import ensemble_of
from ser_mlops.settings.sections import TableSettings
from ser_mlops.tracking.names import TITLE_TAG
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import commit_tags, machine_tags
from ser_mlops.tracking.store import Run, open_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def conduct_overview(chosen: TableSettings, checkpoints: Path, figures: str, tags: Mapping[str, str] | None = None) -> Overview:
    """Lay experiments out and log the table (CSV, Markdown, LaTeX, HTML) and its figure as a run of kind `table`, with `tags`."""
    client = open_store()
    named = rows_of(choose_runs(client, chosen.runs, chosen.tag, fewest=1))
    refuse_mixed(named)
    experiments: dict[str, dict[str, list[pd.DataFrame]]] = {}
    divided_by, ensembles = divisions_of(named), []
    for name, experiment in named.items():
        experiments[name] = by_test = read_rounds_by_test(client, experiment)
        if chosen.ensemble and (several := {test: rounds for test, rounds in by_test.items() if len(rounds) > 1}):
            row = f"{name}, ensemble of {max(map(len, several.values()))} rounds"
            experiments[row] = {test: [ensemble_of(rounds)] for test, rounds in several.items()}
            divided_by[row] = divided_by[name]
            ensembles.append(row)  # one round each, which may be its seed: nothing can be claimed of it
    overview = lay_out(experiments, next(iter(named)), chosen.score, chosen.seed, chosen.resamples, divided_by, ensembles)
    note = warning_about(named.values())
    title = f"{overview.score_name} of {len(named)} experiments" if len(named) > 1 else f"{overview.score_name} of {overview.baseline}"
    described = {"kind": "table", "data": "synthetic" if note else "real", **commit_tags(), **machine_tags(), **(tags or {})}
    described |= {f"compared.{number}": run.info.run_id for number, run in enumerate(named.values())}
    with open_notebook(name=f"table {title}", tags=described, folder=checkpoints / OUTBOX) as notebook:
        run = notebook.parent
        page = overview_markdown(overview, chosen.cell, title, note)
        run.text("table.md", page)
        run.text("table.csv", overview.cells.to_csv(index=False))
        run.text("table.tex", overview_latex(overview, chosen.cell, note))
        run.text("table.html", overview_html(overview, chosen.cell, title, note))
        draw(run, _figures(overview, title, note), figures)
        run.describe(page)
    print(page)
    print(f"open in the MLflow UI: {notebook.link}")
    return overview


def _figures(overview: Overview, title: str, note: str) -> "Iterator[tuple[str, Figure]]":
    yield "table", overview_points(overview.cells, overview.tests, overview.score, title, note)


def rows_of(runs: Sequence[Run]) -> dict[str, Run]:
    """Name the rows of a table: a run by the name that the user gave it, or by its model; where two share a name, as `names_of` does."""
    names = [_short_name(run) for run in runs]
    if len({*names}) < len(names):
        return names_of(runs)
    return dict(zip(names, runs, strict=True))


def _short_name(run: Run) -> str:
    """Return the user's name of a run, or its model and what is frozen of it."""
    tags = run.data.tags
    if run.info.run_name != tags.get(TITLE_TAG):
        return str(run.info.run_name)
    frozen = tags.get("freeze", "none")
    return tags["model"] if frozen == "none" else f"{tags['model']}, {frozen.replace('_', ' ')} frozen"
