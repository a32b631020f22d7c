"""What costs seconds to set up and many tests need, made once: copies of the project with data, a database with MLflow's tables."""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose more to threads that wait for each other than they gain

import pytest
from filelock import FileLock

from ser_mlops.commands import share_machine
from ser_mlops.tracking.store import open_store
from tests.places import ENVIRONMENT
from tests.project import Project, mlflow_environment
from tests.servers import Postgres
from tests.tracking.builders import in_store

share_machine()  # before torch is loaded, here and in every command that a test starts


def pytest_collection_finish() -> None:
    """Leave what collecting the tests has imported out of every later search for garbage, which halves the time of some files."""
    gc.collect()
    gc.freeze()


CORPORA = ("CREMA", "SAVEE", "TESS")
"""Corpora of the copy: ten speakers in five folds, four in four, two in two."""
LONGEST = (
    "launching/test_sweep_job",  # needs no prepared copy, which the next one makes meanwhile
    *("launching", "test_main", "test_group_server", "test_sharing", "test_tuning", "serving", "tracking", "experiments"),
    *("test_graph", "test_readme", "test_setup", "models", "training", "test_harness"),
)
"""Folders and files of tests that take long: they come first, so that no core waits for the last of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first where several processes share the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: next((rank for rank, name in enumerate(LONGEST) if f"tests/{name}" in item.nodeid), len(LONGEST)))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Fill a folder once, for all workers of pytest-xdist; get the folder, which nobody changes."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def once(name: str, fill: Callable[[Path], None]) -> Path:
        folder, is_filled = shared / name, shared / f"{name}.filled"
        with FileLock(shared / f"{name}.lock"):
            if not is_filled.exists():
                folder.mkdir()
                fill(folder)
                is_filled.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def fresh_database(once) -> Path:
    """A database with its tables and the experiment in it; creating one takes seconds, copying it does not."""

    def create(folder: Path) -> None:
        with in_store(f"sqlite:///{folder}/mlflow.db", folder):
            open_store()

    return once("store", create) / "mlflow.db"


@pytest.fixture(scope="session")
def prepared(once, fresh_database) -> Project:
    """A copy with the demo corpora brought up to date by `dvc repro`. It is only copied: nothing is ever run in it."""
    assert mlflow_environment().resolve() == ENVIRONMENT, "requirements.lock changed since the last `make setup`: run it again"

    def prepare(folder: Path) -> None:
        project = Project.of_checkout(folder)
        project.set(corpora=f"[{', '.join(CORPORA)}]", figures="none")  # two thirds of a small experiment; tests of figures ask for them
        (folder / "dvc.lock").unlink()  # DVC reads and writes it with every stage, and most of it is about the other corpora
        project.repro()

    return Project(once("prepared", prepare), fresh_database)


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
