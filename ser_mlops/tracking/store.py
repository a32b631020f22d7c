"""The tracking store: opened, asked for runs, and how it says that it is down.

MLflow's defaults are set here, before anything imports mlflow: a server that is down is given up within seconds instead of minutes.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient as MlflowClient  # other rooms name these types, too, and import them from here
from mlflow.entities import Experiment, ViewType
from mlflow.entities import Run as Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.utils.credentials import read_mlflow_creds
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from ser_mlops.emotions import SEVEN, Space
from ser_mlops.errors import TrackingError
from ser_mlops.files import DISK_FULL
from ser_mlops.tracking.address import StoreError, check_address
from ser_mlops.tracking.names import CHILD_KEY_TAG, EMOTIONS_TAG, ORIGINAL_RUN_TAG
from ser_mlops.tracking.views import experiment_tags

EXPERIMENT = "ser"
"""MLflow's experiment where the user names no other (MLFLOW_EXPERIMENT_NAME, or --experiment-name of `mlflow run`)."""
OPEN_STATUSES = ("SCHEDULED", "RUNNING")
PREDICTIONS_FOLDER = "predictions"
"""Folder of a run's artifacts that holds its prediction tables."""
RETRIED_CODES = frozenset(map(ErrorCode.Name, (DEADLINE_EXCEEDED, INTERNAL_ERROR, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE)))
RETRIED_HTTP_CODES = frozenset({408, 429})
"""Besides every code from 500."""


def open_store() -> MlflowClient:
    """Return a client of the tracking store in use, created if it is a fresh database, with the experiment and its views in it.

    Several processes that start on a fresh database at once would crash creating its tables, so they take turns.

    Raises:
        StoreError: the store cannot be opened, or the experiment was deleted.
    """
    check_address(tracking_uri())
    with FileLock(".mlflow.lock"), using_store():
        client = MlflowClient()
        experiment = find_experiment(client)
        if experiment is None:
            experiment = client.get_experiment(client.create_experiment(experiment_name()))
        for key, value in experiment_tags(experiment.experiment_id).items():
            if key not in experiment.tags:  # somebody may have changed a view to their liking
                client.set_experiment_tag(experiment.experiment_id, key, value)
    return client


def experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def find_experiment(client: MlflowClient) -> Experiment | None:
    """Return MLflow's experiment that runs go to: that of the run that `mlflow run` opened, or the one that the user names.

    Raises:
        StoreError: it was deleted.
    """
    opened = os.environ.get("MLFLOW_EXPERIMENT_ID")  # set by `mlflow run`
    experiment = client.get_experiment(opened) if opened else client.get_experiment_by_name(experiment_name())
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise StoreError(
            f"the experiment {experiment.name!r} was deleted in MLflow: restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or name another one in MLFLOW_EXPERIMENT_NAME"
        )
    return experiment


def tracking_uri() -> str:
    """Return the URI of the tracking store in use."""
    return mlflow.get_tracking_uri()


@contextmanager
def using_store() -> Iterator[None]:
    """Turn what MLflow raises in the block into a StoreError that names the store."""
    try:
        yield
    except MlflowException as error:
        raise _unusable(error) from error


def _unusable(error: MlflowException) -> StoreError:
    return StoreError(_refusal(error) or f"tracking store {tracking_uri()} cannot be used: {one_line(error, 300)}")


def _refusal(error: MlflowException) -> str:
    """Return why a server lets us not in, and what helps; empty where it did or is none."""
    uri, status = tracking_uri(), error.get_http_status_code()
    if status == HTTPStatus.UNAUTHORIZED:
        user = read_mlflow_creds().username
        what = f"does not accept the password of {user!r}" if user else "wants an account"
        return f"tracking server {uri} {what}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == HTTPStatus.FORBIDDEN and "Invalid Host header" in str(error):
        host = urlsplit(uri).netloc
        return f"tracking server {uri} does not go by that name: whoever runs it adds {host} to its --allowed-hosts"
    return ""


def one_line(error: Exception, length: int) -> str:
    """Return an error's message without line breaks, cut."""
    return " ".join(str(error).split())[:length]


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run, or say that there is none; the id that an imported run had where it comes from finds its copy."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in RETRIED_CODES:
            raise _unusable(error) from error
        with using_store():
            copies = copies_of(client, run_id)
        if not copies:
            raise TrackingError(f"no run {run_id!r} in {tracking_uri()}, expected a run id as the MLflow UI shows it") from error
        run = copies[0]
    if run.info.lifecycle_stage != "active":
        raise TrackingError(f"run {run_id!r} was deleted, restore it in the MLflow UI first")
    return run


def copies_of(client: MlflowClient, original_id: str) -> list[Run]:
    """Return the runs that were imported as copies of a run: one, unless an import of it is interrupted."""
    if not re.fullmatch(r"[\w-]+", original_id):
        return []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`{ORIGINAL_RUN_TAG}` = '{original_id}'", ViewType.ACTIVE_ONLY))


def children_of(client: MlflowClient, run: Run) -> list[Run]:
    """Return the trainings of a parent, in the order in which they were planned."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [run.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.info.run_id}'",
            ViewType.ACTIVE_ONLY,
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found.extend(run for run in page if CHILD_KEY_TAG in run.data.tags)
        token = page.token
        if not token:
            return found


def parents_of(client: MlflowClient) -> list[Run]:
    """Return every experiment (parent run) of the store in use that is not deleted, oldest first."""
    experiment = find_experiment(client)
    assert experiment is not None
    return parents_in(client, experiment.experiment_id)


def parents_in(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Return every parent run of an experiment of MLflow that is not deleted, oldest first."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], "", ViewType.ACTIVE_ONLY, 1000, ["attributes.start_time ASC"], token)
        found.extend(run for run in page if MLFLOW_PARENT_RUN_ID not in run.data.tags)
        token = page.token
        if not token:
            return found


def parents_tagged(client: MlflowClient, key: str, value: str, *, only_finished: bool = True) -> list[Run]:
    """Return the experiments (parent runs) with a tag, oldest first."""
    experiment = find_experiment(client)
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{key}` = '{value}'" + " and attributes.status = 'FINISHED'" * only_finished,
        ViewType.ACTIVE_ONLY,
        max_results=1000,
        order_by=["attributes.start_time ASC"],
    )
    return [run for run in found if MLFLOW_PARENT_RUN_ID not in run.data.tags and "code" in run.data.tags]  # compare and predict have none


def end_run(client: MlflowClient, run_id: str, status: str, note: str) -> None:
    """End a run whose own process does not: say why, and mark it KILLED or FAILED."""
    client.set_tag(run_id, MLFLOW_RUN_NOTE, note)
    client.set_terminated(run_id, status)


def parent_id_of(run: Run) -> str | None:
    """Return the id of a child's parent; None for a parent."""
    return run.data.tags.get(MLFLOW_PARENT_RUN_ID)


def note_of(run: Run) -> str:
    """Return a run's description."""
    return run.data.tags.get(MLFLOW_RUN_NOTE, "")


def child_key(child: Run) -> str:
    """Return the key of a child run, unique within its parent: CREMA fold 0 round 1."""
    return child.data.tags[CHILD_KEY_TAG]


def metric_points(client: MlflowClient, run: Run) -> dict[str, list[float]]:
    """Return the values of every metric of a run, in the order of their steps."""
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: [point.value for point in sorted(history, key=lambda point: point.step)] for name, history in histories.items()}


def read_artifact(client: MlflowClient, run_id: str, path: str) -> Path:
    """Return a local copy of an artifact of a run."""
    try:
        return Path(client.download_artifacts(run_id, path))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"run {run_id} holds no {path}: it is no experiment or round of this project, or not a finished one") from error


def is_outage(error: MlflowException | OSError) -> bool:
    """Say whether sending the same again later may succeed."""
    if isinstance(error, MlflowException):
        return error.error_code in RETRIED_CODES
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in RETRIED_HTTP_CODES
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError) or error.errno in DISK_FULL


def space_of(run: Run) -> Space:
    """Return the emotions that an experiment or a round tells apart: all seven where it is of an older commit, without this setting."""
    return Space.parse(run.data.tags[EMOTIONS_TAG]) if "train.emotions" in run.data.params else SEVEN
