"""Stores, and an experiment that is logged into one: what it logs, and everything that a store has of it."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.models import Model

from ser_mlops.tracking.notebook import Notebook, Planned, open_notebook
from ser_mlops.tracking.outbox import RECORDS, Pace
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import EXPERIMENT, children_of, read_artifact
from tests.servers import MlflowServer

EPOCHS = 4
TICK_S = 0.05
NOTE = "mlflow.note.content"
PLANNED = [Planned(f"A round {round}", f"A round {round} tiny", {"round": str(round)}) for round in range(3)]


def serving(server: MlflowServer) -> Iterator[MlflowServer]:
    server.start()
    try:
        with in_store(server.uri, server.folder):
            yield server
    finally:
        server.kill()


@contextmanager
def in_store(uri: str, folder: Path) -> Iterator[None]:
    """Use a tracking store from a folder, with a client that gives up on a server at once, and go back at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        mlflow.set_tracking_uri(uri)
        yield
        mlflow.set_tracking_uri(None)


def copy_store(database: Path, folder: Path) -> None:
    """Put a copy of a store that has no runs into a folder; its artifacts will lie there, too."""
    shutil.copy(database, folder / "mlflow.db")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? || experiment_id", [f"{folder}/mlruns/"])


def notebook_of(
    folder: Path, name: str = "indep A tiny", resume: str | None = None, patience_s: float = 120.0
) -> AbstractContextManager[Notebook]:
    return open_notebook(
        name=name,
        tags={"kind": "indep", "data": "synthetic"},
        planned=PLANNED,
        folder=folder,
        resume=resume,
        pace=Pace(TICK_S, patience_s),
    )


def log_start(run: RunLog) -> None:
    run.params({"train.lr": 1e-5, "train.model": "tiny"})
    run.dataset("A", "d" * 32, "data/frames/A.parquet", "train", '{"clips": 6}')
    run.dataset("A", "d" * 32, "data/frames/A.parquet", "validation", '{"clips": 3}')


def log_epoch(run: RunLog, epoch: int) -> None:
    run.metrics({"train/loss": 2.0 / (epoch + 1), "val/uar": epoch / 10}, step=epoch)


def log_end(run: RunLog) -> None:
    run.metrics({"test/uar": 0.5, "test/recall/sad": 0.0})
    run.text("history.csv", "epoch,loss\n")
    with run.artifact("test_A.parquet", "predictions") as path:
        path.write_bytes(b"logits")
    with run.model("model") as folder:
        (folder / "transformers").mkdir(parents=True)
        (folder / "transformers" / "config.json").write_text("{}")
        Model().save(folder / "MLmodel")
    run.tags({"validation.A": "by group"})


def log_round(run: RunLog) -> None:
    log_start(run)
    for epoch in range(EPOCHS):
        log_epoch(run, epoch)
    log_end(run)


def log_experiment(folder: Path) -> str:
    with notebook_of(folder) as notebook:
        notebook.parent.params({"train.lr": 1e-5})
        for key in notebook.children:
            with notebook.child(key) as run:
                log_round(run)
        notebook.parent.metrics({"test/uar_mean": 0.5})
        notebook.parent.describe("| round | uar |")
    return notebook.parent.run_id


def content_of_experiment(client: mlflow.MlflowClient, parent_id: str) -> dict[str, dict]:
    """Everything that the store has of an experiment, in words that are equal for equal experiments."""
    parent = client.get_run(parent_id)
    return {"parent": content_of_run(client, parent)} | {
        run.data.tags["training"]: content_of_run(client, run) for run in children_of(client, parent)
    }


def content_of_run(client: mlflow.MlflowClient, run: Run) -> dict[str, object]:
    run_id = run.info.run_id
    keys = [key for key in run.data.metrics if not key.startswith("system/")]
    ignored = ("mlflow.parentRunId", "mlflow.user", "mlflow.source.")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "has ended": run.info.end_time is not None,
        "metrics": {key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)] for key in keys},
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(ignored) and value},
        "inputs": sorted(
            (data.dataset.name, data.dataset.digest, data.dataset.source, sorted((tag.key, tag.value) for tag in data.tags))
            for data in run.inputs.dataset_inputs
        ),
        "artifacts": {path: read_artifact(client, run_id, path).read_bytes() for path in artifact_paths(client, run_id, "")},
        "models": [content_of_model(client, model) for model in models_of(client, run)],
    }


def models_of(client: mlflow.MlflowClient, run: Run) -> list[LoggedModel]:
    """The logged models that are of a run, finished or not, among them those that the run does not know."""
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id for model in models]
    return list(models)


def content_of_model(client: mlflow.MlflowClient, model: LoggedModel) -> dict[str, object]:
    folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    description = Model.load(folder)
    assert (description.model_id, description.run_id) == (model.model_id, model.source_run_id)
    return {
        "name": model.name,
        "status": model.status.name,
        "metrics": {(point.key, point.value, point.step) for point in model.metrics or []},
        "params": {name: value for name, value in model.params.items() if name != "train.resume"},
        "files": {path.relative_to(folder).as_posix() for path in folder.rglob("*")} - {"registered_model_meta"},  # MLflow's own
    }


def artifact_paths(client: mlflow.MlflowClient, run_id: str, folder: str) -> list[str]:
    found = client.list_artifacts(run_id, folder)
    return sorted(path for item in found for path in (artifact_paths(client, run_id, item.path) if item.is_dir else [item.path]))


def statuses(client: mlflow.MlflowClient, parent_id: str) -> list[str]:
    parent = client.get_run(parent_id)
    return [parent.info.status, *(run.info.status for run in children_of(client, parent))]


def descriptions(client: mlflow.MlflowClient, parent_id: str) -> list[str]:
    parent = client.get_run(parent_id)
    return [run.data.tags.get(NOTE, "") for run in (parent, *children_of(client, parent))]


def parents(client: mlflow.MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def wait_until_sent(notebook: Notebook, folder: Path) -> None:
    records = next(folder.glob(f"*/{notebook.parent.run_id}/{RECORDS}"))
    sent = records.with_name("sent")
    deadline = time.monotonic() + 600
    while not sent.exists() or int(sent.read_text()) < records.stat().st_size:
        assert time.monotonic() < deadline, "records do not arrive"
        time.sleep(TICK_S)
