"""Fixtures of the tests that run the project's commands: copies of the project, made and filled once."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to threads that wait for each other than they gain

import pytest

from ser_mlops.commands import share_machine
from tests.project import ENVIRONMENT, Project, mlflow_environment
from tests.servers import Postgres

share_machine()  # before torch is loaded, here and in every command that a test starts


def pytest_collection_finish() -> None:
    """Leave what collecting the tests has imported out of every later search for garbage, which halves the time of some files."""
    gc.collect()
    gc.freeze()


CORPORA = ("CREMA", "SAVEE", "TESS")
"""Corpora of the copy: ten speakers in five folds, four in four, two in two."""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Project:
    """A copy with the demo corpora brought up to date by `dvc repro`. It is only copied: nothing is ever run in it."""
    assert mlflow_environment().resolve() == ENVIRONMENT, "requirements.lock changed since the last `make setup`: run it again"
    project = Project.of_checkout(tmp_path_factory.mktemp("prepared"))
    project.set(corpora=f"[{', '.join(CORPORA)}]")
    project.repro()
    return project


@pytest.fixture(scope="module")
def project(prepared, tmp_path_factory) -> Project:
    """A copy for each file of tests, with data and without runs; its tests add runs to it and change nothing else."""
    return prepared.copy(tmp_path_factory.mktemp("project") / "project")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A database server of its own, for one test."""
    binaries = Postgres.find()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (initdb is neither on the path nor under /usr/lib/postgresql)")
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (pip install -e .[postgresql])")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # PostgreSQL runs as another user
    postgres = Postgres(binaries, folder / "cluster")
    postgres.create()
    try:
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder)
