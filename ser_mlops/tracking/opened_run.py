"""The run that `mlflow run` opens for a call before our code starts: the parent, the reason of a refusal, or put aside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from ser_mlops.errors import SerError, TrackingError
from ser_mlops.tracking.store import open_store

OPENED_RUN = "MLFLOW_RUN_ID"
"""Environment variable that holds its id. A worker process must not inherit it, or it would write into the parent."""


def take_opened_run() -> str | None:
    """Return the id of the run that `mlflow run` opened for this process, once."""
    return os.environ.pop(OPENED_RUN, None)


def put_aside(client: MlflowClient, run_id: str, parent_id: str, name: str) -> None:
    """Make a call's own run a child of the experiment that the call works for, so that it is not listed among the experiments.

    It cannot be deleted: at its end `mlflow run` sets the status of the run that it opened, and fails if that run is gone.
    """
    client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent_id)
    client.set_tag(run_id, MLFLOW_RUN_NAME, name)
    client.set_tag(run_id, MLFLOW_RUN_NOTE, "A call of `mlflow run` that worked for this experiment; it holds no results.")
    client.set_terminated(run_id, "FINISHED")


def put_opened_run_aside(parent_id: str, name: str) -> None:
    """Put the run that `mlflow run` opened for this call, if any, aside."""
    opened = take_opened_run()
    if opened:
        put_aside(open_store(), opened, parent_id, name)


@contextmanager
def explaining_failure(command: str) -> Iterator[None]:
    """Where a command fails before its notebook is open, name the run that `mlflow run` opened for it and say why it failed.

    `mlflow run` itself then marks the run FAILED.
    """
    try:
        yield
    except SerError as error:
        opened = os.environ.get(OPENED_RUN)
        if opened and not isinstance(error, TrackingError):
            client = open_store()
            client.set_tag(opened, MLFLOW_RUN_NAME, f"{command} (refused)")
            client.set_tag(opened, MLFLOW_RUN_NOTE, f"Failed: {error}")
        raise
