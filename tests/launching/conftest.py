"""Projects in which sweeps run, and a database for their studies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_mlops.launching.sweep_job import conduct_sweep
from tests.experiments.builders import furnish, sweep_of
from tests.launching.sweeps import DRAWN, Lab, copy_of
from tests.tracking.builders import copy_store, in_store


@pytest.fixture(scope="session")
def furnished(fresh_database, tmp_path_factory) -> Path:
    """A project with a fresh store, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    copy_store(fresh_database, folder)
    return folder


@pytest.fixture
def lab(furnished, tmp_path) -> Iterator[Lab]:
    folder = copy_of(furnished, tmp_path / "lab")
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        yield Lab(folder)


@pytest.fixture(scope="session")
def swept(furnished, tmp_path_factory) -> Path:
    """A project in which a sweep ran undisturbed, by one worker, and then once more."""
    folder = copy_of(furnished, tmp_path_factory.mktemp("swept") / "lab")
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        conduct_sweep(sweep_of(**DRAWN))
    return folder


@pytest.fixture
def undisturbed(swept) -> Iterator[Lab]:
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        yield Lab(swept)
