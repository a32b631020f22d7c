"""Fixtures of the tests that run the project's commands: copies of the project, made and filled once."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to threads that wait for each other than they gain

import pytest

from ser_mlops.commands import share_machine
from tests.project import ENVIRONMENT, Project, mlflow_environment

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
