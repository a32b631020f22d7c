"""How the experiment looks in the MLflow UI: its saved views, its description, and links to the pages that answer a question.

Which columns and charts a list of runs shows is kept in each browser, and at first none is a score. A saved view is kept on the server,
as a tag of the experiment, `mlflow.sharedViewState.KEY`: it stands in the menu Views and opens with `?viewStateShareKey=KEY`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ser_mlops.tracking.names import UAR_TAG, VALIDATION_TAG

SHARED_VIEW = "mlflow.sharedViewState."
NOTE = "mlflow.note.content"
TRAINING = "workflowType=machine_learning"
"""Opens the pages for training; those for chat agents are what MLflow shows first."""
COLUMNS: Mapping[str, int] = {
    "attributes.`Run Name`": 380,
    "attributes.`Created`": 140,
    f"tags.`{UAR_TAG}`": 130,
    f"tags.`{VALIDATION_TAG}`": 110,
    "metrics.`best_epoch`": 95,
    "tags.`freeze`": 130,
    "params.`train.lr`": 110,
    "params.`train.epochs`": 120,
    "params.`train.schedule`": 130,
    "params.`train.seed`": 120,
    "tags.`learned`": 110,
    "tags.`data`": 90,
}
"""Columns of the view `scores` and their widths in pixels: an experiment shows the mean of its rounds, a round its own score.

Scores are shown as tags, since MLflow prints the seventeen digits of a metric and cuts what the column does not hold."""
EXPERIMENTS = "tags.code != ''"
"""Search that leaves out refused calls, predictions and comparisons: they have no such tag."""
CHARTS = "compareRunsMode=CHART"
BY_NAME = "tags.`mlflow.runName`"
CURVES = ("train/loss", "val/loss", "val/uar", "val/accuracy", "val/f1_macro", "lr")
SCORES = ("test/uar", "test/accuracy", "test/f1_macro")
MOST_LINKED = 30
"""More rounds than this are not put into one link, which a description could not hold."""


def experiment_tags(experiment_id: str) -> dict[str, str]:
    """Return the tags that give the experiment its views, and its description that links to them."""
    scores = f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey=scores"
    curves = f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey=curves&{CHARTS}"
    columns = list(COLUMNS)
    table = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": COLUMNS, "searchFilter": EXPERIMENTS}
    return {
        f"{SHARED_VIEW}scores": _saved("Scores", table),
        **newest_curves(""),
        NOTE: f"Speech emotion recognition: [scores]({scores}) of all experiments, [curves]({curves}) of the newest one's rounds",
    }


def newest_curves(parent_id: str) -> dict[str, str]:
    """Return the tag that makes the view `curves` that of the rounds of one parent run, which is no run as long as there is none.

    Sorted by their names, rounds are listed without their parent; sorted by time, MLflow would hide them until it is unfolded.
    """
    charts = _charts({"Curves by epoch": CURVES, "Test scores": SCORES})
    listed = {"searchFilter": _rounds_of(parent_id), "orderByKey": BY_NAME, "orderByAsc": True}
    return {f"{SHARED_VIEW}curves": _saved("Curves", charts | listed)}


def _rounds_of(parent_id: str) -> str:
    """Return the search that finds the rounds of an experiment."""
    return f"tags.`mlflow.parentRunId` = '{parent_id}'"


def _saved(name: str, state: Mapping[str, Any]) -> str:
    now_ms = int(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now_ms, "updatedAt": now_ms, "state": json.dumps(state)})


def _charts(sections: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the state of a view with these charts by section; a metric that is logged once is a bar per run."""
    return {
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunSections": [{"uuid": name, "name": name, "display": True, "isReordered": True} for name in sections],
        "compareRunCharts": [
            {
                "uuid": metric,
                "type": "BAR" if metric in SCORES else "LINE",
                "metricSectionId": name,
                "metricKey": metric,
                "lineSmoothness": 0,
            }
            for name, metrics in sections.items()
            for metric in metrics
        ],
    }


def link_to_run(experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page behind that of the server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def links_to_rounds(experiment_id: str, parent_id: str, run_ids: Sequence[str]) -> str:
    """Return Markdown links to the curves of an experiment's rounds, one axis a page, and to all their scores, side by side.

    Where the rounds are too many for a link to name them, the curves are left to the page of all scores.
    """
    listed = f"searchFilter={quote(_rounds_of(parent_id))}&orderByKey={quote(BY_NAME)}&orderByAsc=true"
    links = {"rounds side by side": f"#/experiments/{experiment_id}/runs?{TRAINING}&{CHARTS}&{listed}"}
    if len(run_ids) <= MOST_LINKED:
        runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps([experiment_id]))
        for name, metric in (("training loss", "train/loss"), ("validation UAR", "val/uar")):
            key, keys = quote(json.dumps(metric)), quote(json.dumps([metric]))
            shown = f"metric={key}&plot_metric_keys={keys}&x_axis=step"
            links = {f"{name} of the rounds": f"#/metric?runs={runs}&experiments={experiments}&{shown}&{TRAINING}"} | links
    return " · ".join(f"[{name}]({link})" for name, link in links.items())
