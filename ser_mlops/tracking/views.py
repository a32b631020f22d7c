"""How the experiment looks in the MLflow UI: its saved views, its description, and links to the pages that answer a question.

Which columns and charts a list of runs shows is kept in each browser, and at first none is a score. A saved view is kept on the server,
as a tag of the experiment, `mlflow.sharedViewState.KEY`: it stands in the menu Views and opens with `?viewStateShareKey=KEY`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

SHARED_VIEW = "mlflow.sharedViewState."
NOTE = "mlflow.note.content"
TRAINING = "workflowType=machine_learning"
"""Opens the pages for training; those for chat agents are what MLflow shows first."""
COLUMNS: Mapping[str, int] = {
    "attributes.`Run Name`": 380,
    "attributes.`Created`": 140,
    "metrics.`test/uar_mean`": 120,
    "metrics.`test/uar_sd`": 110,
    "metrics.`test/uar`": 110,
    "metrics.`best/val_uar`": 110,
    "metrics.`best_epoch`": 95,
    "tags.`freeze`": 130,
    "params.`train.lr`": 110,
    "params.`train.epochs`": 120,
    "params.`train.schedule`": 130,
    "params.`train.seed`": 120,
    "tags.`learned`": 110,
    "tags.`data`": 90,
}
"""Columns of the view `scores` and their widths in pixels: an experiment shows the mean of its rounds, a round its own score."""
EXPERIMENTS = "tags.code != ''"
"""Search that leaves out refused calls, predictions and comparisons: they have no such tag."""
CURVES = ("train/loss", "val/loss", "val/uar", "val/accuracy", "val/f1_macro", "lr")
SCORES = ("test/uar", "test/accuracy", "test/f1_macro")
MOST_LINKED = 30
"""More rounds than this are not put into one link, which a description could not hold."""


def experiment_tags(experiment_id: str) -> dict[str, str]:
    """Return the tags that give the experiment its views, and its description that links to them."""
    scores = f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey=scores"
    curves = f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey=curves&compareRunsMode=CHART"
    columns = list(COLUMNS)
    table = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": COLUMNS, "searchFilter": EXPERIMENTS}
    return {
        f"{SHARED_VIEW}scores": _saved("Scores", table),
        f"{SHARED_VIEW}curves": _saved("Curves", _charts({"Curves by epoch": CURVES, "Test scores": SCORES})),
        NOTE: f"Speech emotion recognition: [scores]({scores}) of all experiments, [curves]({curves}) of their rounds",
    }


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


def links_to_rounds(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return Markdown links to the curves of some runs, and to all that they hold, side by side; none where the runs are too many."""
    if len(run_ids) > MOST_LINKED:
        return ""
    runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps([experiment_id]))
    curves = quote(json.dumps(["val/uar", "train/loss"]))
    metric = f"metric={quote(json.dumps('val/uar'))}&plot_metric_keys={curves}&x_axis=step"
    return (
        f"[curves of the rounds](#/metric?runs={runs}&experiments={experiments}&{metric}&{TRAINING})"
        f" · [rounds side by side](#/compare-runs?runs={runs}&experiments={experiments}&{TRAINING})"
    )
