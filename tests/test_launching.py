"""Rounds in other processes, of this machine and of a real Slurm cluster: the numbers of a plain run, whatever happens to the jobs."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from tests.project import Project, metrics_of, train
from tests.servers import MlflowServer, SlurmCluster

pytestmark = [
    pytest.mark.timeout(600),  # every job imports torch, on cores that other tests share
    pytest.mark.skipif(bool(SlurmCluster.obstacle()), reason=SlurmCluster.obstacle()),
]
ROUNDS = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "epochs": "2", "rounds": "3", "lr": "3.0e-3"}
SLURM = {"launcher": "slurm"}


@dataclass
class Site:
    """A project on shared storage, a Slurm cluster and a tracking server."""

    project: Project
    cluster: SlurmCluster
    server: MlflowServer

    @property
    def variables(self) -> dict[str, str]:
        return {**self.cluster.variables, "MLFLOW_TRACKING_URI": self.server.uri}

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.server.uri)

    def run(self, *command: str) -> str:
        return self.project.run(*command, **self.variables)

    def parent(self, output: str) -> Run:
        """The experiment that a command's last line names."""
        line = [line for line in output.splitlines() if line.startswith("open in the MLflow UI")][-1]
        return self.client.get_run(line.rpartition("/")[2].partition("?")[0])

    def runs(self) -> list[Run]:
        experiment = self.client.get_experiment_by_name("ser")
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id], max_results=1000))

    def children_of(self, parent: Run) -> list[Run]:
        runs = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and "training" in run.data.tags]
        return sorted(runs, key=lambda run: run.data.tags["training"])

    def numbers(self, parent: Run) -> list[Mapping[str, object]]:
        """Every result of an experiment and of its rounds, and every epoch's metrics but for seconds."""
        return [metrics_of(parent), *({**metrics_of(run), **self.curves(run)} for run in self.children_of(parent))]

    def curves(self, run: Run) -> Mapping[str, object]:
        names = ("train/loss", "val/uar", "val/loss", "lr")
        return {name: [(point.step, point.value) for point in self.client.get_metric_history(run.info.run_id, name)] for name in names}


def wait_until(is_so, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site(project, tmp_path_factory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    site = Site(project.copy(folder / "project"), SlurmCluster(folder / "cluster"),
                MlflowServer(f"sqlite:///{folder}/mlflow.db", folder))
    site.project.set(time='"10"', cpus="1", memory="1G", gpus="0", at_once="4", probe="30")
    try:
        site.cluster.start()
        site.server.start()
        yield site
    finally:
        site.cluster.stop()
        site.server.kill()


@pytest.fixture(scope="module")
def local(site) -> Run:
    """Three rounds in one process."""
    return site.parent(site.run(*train(**ROUNDS)))


def test_an_array_of_rounds_has_the_numbers_of_a_local_run_bit_for_bit(site, local):
    output = site.run(*train(**ROUNDS, **SLURM))
    parent = site.parent(output)
    children = site.children_of(parent)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    assert site.numbers(parent) == site.numbers(local)
    assert "CREMA fold 0      2" in output, "no table"
    array, _caches = parent.data.tags["job"].split()
    assert [run.data.tags["job"] for run in children] == [f"{array}_{number}" for number in range(3)]
    for run in children:
        assert "Job completed" in Path(run.data.tags["log"]).read_text(encoding="utf-8")
        assert run.data.tags["nodes"]


def test_rounds_side_by_side_have_the_same_numbers_too(site, local):
    parent = site.parent(site.run(*train(**ROUNDS, parallel="3")))
    assert site.numbers(parent) == site.numbers(local)
