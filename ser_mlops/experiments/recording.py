"""Writes an experiment into its runs: settings and data at the start, results and the model of each round, the summary on the parent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from ser_mlops.data.lock import Version
from ser_mlops.experiments.artifacts import CODE_FILE, ENVIRONMENT_FILE, FIGURES_FOLDER, HISTORY_FILE, SETTINGS_FILE
from ser_mlops.experiments.descriptions import describe_summary, format_mean, format_summary
from ser_mlops.experiments.drawing import RoundDrawing, round_figures, summary_figures
from ser_mlops.experiments.model_card import model_card, served_window, serving_obstacle
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.results import Result, scores_as_metrics, summarise
from ser_mlops.serving.predictor import CARD, Terms, folder_of, save_model_folder
from ser_mlops.settings.reading import applicable_settings, dump_settings
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.names import UAR_TAG, VALIDATION_TAG
from ser_mlops.tracking.provenance import code_listing, environment_text
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import PREDICTIONS_FOLDER, read_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


class EpochLog:
    """The engine's recorder: every epoch's metrics at its step."""

    def __init__(self, run: RunLog | None) -> None:
        self._run = run

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self._run is not None:
            self._run.metrics(metrics, step=epoch)


def describe_experiment(run: RunLog, settings: Settings, versions: Mapping[str, Version]) -> None:
    """Log what an experiment is made of: settings, environment and data."""
    run.params(applicable_settings(settings))
    run.text(SETTINGS_FILE, dump_settings(settings))
    run.text(ENVIRONMENT_FILE, environment_text())
    run.text(CODE_FILE, code_listing())
    for corpus, version in versions.items():
        run.dataset(corpus, version.frame_md5, version.frame.as_posix(), "experiment", "", contents_of(version))


@cache
def contents_of(version: Version) -> tuple[str, str]:
    """Return the columns and the number of clips of a frame as MLflow's Datasets panel reads them: a schema and a profile."""
    import pyarrow.parquet as pq

    columns = [{"name": field.name, "type": str(field.type), "required": not field.nullable} for field in pq.read_schema(version.frame)]
    return json.dumps({"mlflow_colspec": columns}), json.dumps({"num_rows": pq.read_metadata(version.frame).num_rows})


def begin_training(run: RunLog, training: Training, settings: Settings, versions: Mapping[str, Version]) -> None:
    """Log what one training is made of: settings and data by side."""
    run.params(applicable_settings(settings))
    for side, frame in training.sides.items():
        for corpus, clips in frame.groupby("corpus", observed=True):
            version = versions[str(corpus)]
            profile = f'{{"clips": {len(clips)}, "speakers": {clips["speaker"].nunique()}}}'
            run.dataset(str(corpus), version.frame_md5, version.frame.as_posix(), side, profile, contents_of(version))
    run.tags({f"validation.{corpus}": f"by {unit}" for corpus, unit in training.validation_by.items()})


def record_result(run: RunLog, result: Result, note: str) -> None:
    """Log the scores and tables of a finished training."""
    assert result.fitted is not None
    run.metrics(scores_as_metrics(result.scores))
    run.metrics(
        {
            "best_epoch": result.best_epoch,
            "seconds_in_all": result.seconds,
            "parameters/trainable": result.fitted.num_trainable,
            "parameters/frozen": result.fitted.num_frozen,
            **{f"best/val_{name}": value for name, value in result.fitted.best_scores.items() if "/" not in name},
        }
    )
    validated = f"{result.fitted.best_scores['uar']:.3f}"
    run.tags({UAR_TAG: f"{result.scores['']['uar']:.3f}", VALIDATION_TAG: validated})
    headline = f"UAR {result.scores['']['uar']:.3f} on {', '.join(result.tables)}, best epoch {result.best_epoch} of {len(result.history)}"
    described = f"{headline} ({note})" if note else headline
    if result.failure:
        run.tags({"learned": "nothing"})
        described = f"**Learned nothing: {result.failure}.** {described}\n\nAdvice: {result.what_to_try}."
    run.describe(described)
    run.text(HISTORY_FILE, result.history.to_csv(index=False))
    for name, table in result.tables.items():
        with run.artifact(f"test_{name}.parquet", PREDICTIONS_FOLDER) as path:
            table.to_parquet(path, index=False)


def record_model(run: RunLog, result: Result, settings: Settings, versions: Mapping[str, Version], note: str) -> None:
    """Log the model of a finished training, ready to be served, with its card; after its scores, which become the model's too."""
    from ser_mlops.serving.pyfunc import save_pyfunc  # imports MLflow's servers, which may wait until a round has ended

    assert result.fitted is not None
    model = result.fitted.classifier
    with run.model(f"{result.training.name} round {result.round} {settings.train.model}") as folder:
        save_pyfunc(folder, settings.serving.model_dump(exclude={"window_seconds"}), model)
        weights = folder / folder_of(model)
        joined = dict(settings.train.space.joined)
        terms = Terms(served_window(settings), settings.audio.min_seconds, note, serving_obstacle(settings), joined)
        save_model_folder(model, weights, terms)
        card = model_card(result.training, {result.round: result.best_epoch}, result.scores, settings, versions, note)
        (weights / CARD).write_text(card, encoding="utf-8")


def draw(run: RunLog, drawn: "Iterable[tuple[str, Figure]]", figures: str = "png") -> None:
    """Log figures under their names; `figures` is png, pdf, both or none, and with none nothing is drawn."""
    if figures == "none":
        return
    from ser_mlops.scores.figures.style import files_of, save

    for name, figure in drawn:
        for file in files_of(name, figures):
            with run.artifact(file, FIGURES_FOLDER) as path:
                save(figure, path)


def read_result(client: "MlflowClient", run_id: str, training: Training, round: int, *, is_baseline: bool) -> Result:
    """Read the result of a finished training back from its run."""
    tables = {name: pd.read_parquet(read_artifact(client, run_id, f"{PREDICTIONS_FOLDER}/test_{name}.parquet")) for name in training.tests}
    history = pd.read_csv(read_artifact(client, run_id, HISTORY_FILE))
    best_epoch = int(client.get_run(run_id).data.metrics["best_epoch"])
    return Result(training, round, best_epoch, history, tables, is_baseline=is_baseline)


def draw_missing(client: "MlflowClient", run: RunLog, result: Result, note: str, figures: str) -> None:
    """Draw the figures of a finished round that its run lacks, because a kill came between its end and theirs."""
    drawing = RoundDrawing.of(result, note, figures)
    held = {item.path for item in client.list_artifacts(run.run_id, FIGURES_FOLDER)}
    if not held.issuperset(f"{FIGURES_FOLDER}/{file}" for file in drawing.files):
        draw(run, round_figures(drawing), figures)


def record_summary(run: RunLog, name: str, results: Sequence[Result], note: str, links: str, figures: str, emotions: str = "") -> str:
    """Log means, spreads and intervals over the rounds, and their figures; return the table of rounds as text.

    The run's description says the same, beginning with the UAR, and holds `links` and what is said of the `emotions`.
    """
    summary = summarise(results)
    run.metrics(summary.metrics)
    run.text("rounds.csv", summary.rows.to_csv(index=False))
    if len(summary.pairs) > 1:
        run.text("matrix.csv", summary.matrix("uar").to_csv())
    draw(run, summary_figures(name, results, summary, note), figures)
    if summary.failures:
        run.tags({"learned": f"nothing in {sum(bool(result.failure) for result in results)} of {len(results)} rounds"})
    if summary.leading is not None:
        run.tags({UAR_TAG: format_mean(summary.leading.table.loc["uar"])})
    run.describe(describe_summary(name, summary, note, links, emotions))
    return format_summary(summary)
