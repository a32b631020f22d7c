"""The run that `mlflow run` opens for a call before our code starts: the parent, the reason of a refusal, or put aside."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from mlflow.utils.name_utils import _GENERATOR_NOUNS, _GENERATOR_PREDICATES

from ser_mlops.errors import Interrupted, SerError
from ser_mlops.tracking.address import StoreError
from ser_mlops.tracking.names import TITLE_TAG
from ser_mlops.tracking.store import open_store, using_store

KIND_TAG = "kind"
"""Tag of every run: indep, cross, matrix, grid, sweep, compare, predict, or what keeps a run out of the lists: refused, call."""


def take_opened_run() -> str | None:
    """Return the id of the run that `mlflow run` opened for this process, once."""
    return os.environ.pop(MLFLOW_RUN_ID.name, None)


@contextmanager
def keeping_opened_run() -> Iterator[None]:
    """Keep the run that `mlflow run` opened from the experiments that a block runs: it is for what comes after the block."""
    opened = take_opened_run()
    try:
        yield
    finally:
        if opened:
            os.environ[MLFLOW_RUN_ID.name] = opened


def is_chosen(name: str) -> bool:
    """Whether a run's name is the user's (`mlflow run --run-name`), not one that MLflow made up.

    >>> is_chosen("baseline for table 2"), is_chosen("capable-finch-617")
    (True, False)
    """
    predicate, _, rest = name.partition("-")
    noun = re.fullmatch(r"([a-z]+)-\d*", rest)
    return not (noun and predicate in _GENERATOR_PREDICATES and noun[1] in _GENERATOR_NOUNS)


def put_aside(client: MlflowClient, run_id: str, parent_id: str, name: str) -> None:
    """Make a call's own run a child of the experiment that the call works for, so that it is not listed among the experiments.

    It cannot be deleted: at its end `mlflow run` sets the status of the run that it opened, and fails if that run is gone.
    """
    client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent_id)
    client.set_tag(run_id, MLFLOW_RUN_NAME, name)
    client.set_tag(run_id, KIND_TAG, "call")
    client.set_tag(run_id, MLFLOW_RUN_NOTE, "A call of `mlflow run` that worked for this experiment; it holds no results.")
    client.set_terminated(run_id, "FINISHED")


def put_opened_run_aside(parent_id: str, name: str) -> None:
    """Put the run that `mlflow run` opened for this call, if any, aside."""
    opened = take_opened_run()
    if opened:
        put_aside(open_store(), opened, parent_id, name)


def describe_opened_run(run_id: str, command: str, failure: Exception | None) -> None:
    """Name the run that `mlflow run` opened for a command that left it alone after the command and, if it failed, say why.

    A store that cannot be used, which the command reports itself, is left alone.
    """
    if isinstance(failure, StoreError):
        return
    is_refused = isinstance(failure, SerError)
    ended = "interrupted" if isinstance(failure, Interrupted) else "refused" if is_refused else "failed"
    name = f"{command} ({ended})" if failure else command
    with suppress(StoreError), using_store():
        client = MlflowClient()
        is_named = is_chosen(client.get_run(run_id).info.run_name)
        client.set_tag(run_id, TITLE_TAG if is_named else MLFLOW_RUN_NAME, name)
        client.set_tag(run_id, KIND_TAG, ended if failure else command)
        if failure:
            client.set_tag(run_id, MLFLOW_RUN_NOTE, f"Failed: {failure if is_refused else f'{type(failure).__name__}: {failure}'}")
