"""Stores to log into: the embedded one, an mlflow server and PostgreSQL; and what an undisturbed experiment leaves."""

from collections.abc import Iterator

import mlflow
import pytest

from ser_mlops.tracking.store import open_store
from tests.servers import MlflowServer
from tests.tracking.builders import content_of_experiment, copy_store, in_store, log_experiment, serving


@pytest.fixture
def store(fresh_database, tmp_path) -> Iterator[mlflow.MlflowClient]:
    """The embedded store, in a folder of its own."""
    copy_store(fresh_database, tmp_path)
    with in_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path):
        yield open_store()


@pytest.fixture(scope="session")
def undisturbed(fresh_database, tmp_path_factory) -> dict[str, dict]:
    """The history of an experiment that nothing disturbs, in the embedded store."""
    folder = tmp_path_factory.mktemp("undisturbed")
    copy_store(fresh_database, folder)
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        history = content_of_experiment(open_store(), log_experiment(folder / "outbox"))
    assert {run["status"] for run in history.values()} == {"FINISHED"}
    return history


@pytest.fixture
def server(fresh_database, tmp_path) -> Iterator[MlflowServer]:
    """An mlflow server with a database of its own, in use as the store."""
    copy_store(fresh_database, tmp_path)
    yield from serving(MlflowServer(f"sqlite:///{tmp_path}/mlflow.db", tmp_path))
