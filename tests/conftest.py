"""Fixtures of the tests that run the project's commands: copies of the project, made and filled once."""

import gc
import importlib
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to threads that wait for each other than they gain

import pytest

from ser_mlops.settings import run_command
from tests.project import ENVIRONMENT, Project, mlflow_environment


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
def refused(monkeypatch, capsys) -> Callable[..., str]:
    """Run a command of a project in this process, which saves the seconds that one of its own takes to start: it must be refused.

    Takes the project, the module and its parameters; returns the one line that says why.
    """

    def refused(project: Project, module: str, **parameters: str) -> str:
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
        monkeypatch.setattr("sys.argv", [module, *(word for name, value in parameters.items() for word in (f"--{name}", value))])
        with pytest.raises(SystemExit) as ended:
            run_command(importlib.import_module(module).main)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused
