"""Rounds as jobs of a real Slurm cluster: the numbers of a plain run, whatever happens to the jobs."""

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run

from tests.project import ROOT, Project, metrics_of, words_of
from tests.servers import MlflowServer, SlurmCluster
from tests.tracking.builders import copy_store

pytestmark = [
    pytest.mark.timeout(600),  # every job imports torch, on cores that other tests share
    pytest.mark.skipif(bool(SlurmCluster.obstacle()), reason=SlurmCluster.obstacle()),
]
ROUNDS = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "epochs": "6", "rounds": "2", "lr": "3.0e-3", "figures": "png"}
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

    def run(self, module: str, **parameters: str) -> str:
        """Run a command that must succeed in this process; its jobs have processes of their own. Return what it printed."""
        code, printed, told = self.project.call(module, parameters, self.variables)
        assert code == 0, printed + told
        return printed

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
        return {name: self.curve(run, name) for name in ("train/loss", "val/uar", "val/loss", "lr")}

    def curve(self, run: Run, name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self.client.get_metric_history(run.info.run_id, name)]


def wait_until(is_so, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def hashes_of(client: mlflow.MlflowClient, run: Run) -> Mapping[str, str]:
    """The artifacts of a run, those with scores and figures by their hash."""
    root = Path(client.download_artifacts(run.info.run_id, ""))
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() * name.startswith(("pred", "fig")) for name, path in files.items()}


@pytest.fixture(scope="module")
def site(project, tmp_path_factory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    site = Site(project.copy(folder / "project"), SlurmCluster(folder / "cluster"), MlflowServer(f"sqlite:///{folder}/mlflow.db", folder))
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
    """The rounds in one process."""
    return site.parent(site.run("pipelines.train", **ROUNDS))


WARNS_ITSELF = """
import os, signal, subprocess, sys

def warn(event, arguments):
    if event == "os.rename" and "/CREMA_fold_0_round_1/" in str(arguments[1]) and not os.environ.get("SLURM_RESTART_COUNT"):
        os.environ["SLURM_RESTART_COUNT"] = "0, and warned"
        job = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        signal.pause()  # until the signal has come

sys.addaudithook(warn)
"""
"""Has Slurm warn the job of round 1 when it saves its first state, however slow the machine is."""


def test_an_array_of_rounds_one_of_which_is_warned_and_requeues_itself_has_the_numbers_of_a_local_run(site, local, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WARNS_ITSELF, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        output = site.run("pipelines.train", **ROUNDS, **SLURM, checkpoint_every="1")
    parent = site.parent(output)
    children = site.children_of(parent)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert site.numbers(parent) == site.numbers(local), "not equal bit for bit"
    assert "CREMA fold 0      1" in output, "no table"
    array = parent.data.tags["job"].split()[0]
    assert [run.data.tags["job"] for run in children] == [f"{array}_{number}" for number in range(2)]
    logs = [Path(run.data.tags["log"]).read_text(encoding="utf-8") for run in children]
    assert ["SIGUSR2: state saved after step" in log for log in logs] == [False, True]
    assert all("Job completed" in log for log in logs)
    assert all(run.data.tags["nodes"] for run in children)


NO_STORE = """
import os, sys

def refuse(event, arguments):
    if event in ("open", "sqlite3.connect") and str(arguments[0]).endswith("mlflow.db") and "SLURM_JOB_ID" in os.environ:
        os._exit(99)

sys.addaudithook(refuse)
"""
"""Ends a job that opens the database."""


def test_without_a_server_jobs_leave_records_that_sync_brings_once_though_the_command_was_killed(site, local, tmp_path):
    copy_store(site.project.store, tmp_path)
    own = replace(site, server=SimpleNamespace(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    (tmp_path / "sitecustomize.py").write_text(NO_STORE + WARNS_ITSELF, encoding="utf-8")
    words = words_of(ROUNDS | SLURM | {"checkpoint_every": "1"})
    command = own.project.start("python", "-m", "pipelines.train", *words, **own.variables, PYTHONPATH=str(tmp_path))
    wait_until(lambda: any("seconds" in run.data.metrics for run in own.runs()))
    command.kill()
    command.communicate()

    said = own.run("pipelines.sync")
    parent = own.client.get_run(re.findall(r"run (\w+): . of 2 rounds have ended", said)[0])
    wait_until(lambda: not own.cluster.run("squeue", "--noheader"))
    said = own.run("pipelines.sync")
    assert "2 of 2 rounds have ended" in said
    assert "CREMA fold 0      1" in said, "no table"
    parent = own.client.get_run(parent.info.run_id)
    children = own.children_of(parent)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert own.numbers(parent) == site.numbers(local), "not equal bit for bit"
    for run, other in zip([parent, *children], [local, *site.children_of(local)], strict=True):
        assert hashes_of(own.client, run) == hashes_of(site.client, other)
    assert own.run("pipelines.sync").startswith("nothing to sync: no records in ")


@pytest.mark.slow
def test_a_node_that_dies_costs_what_happened_since_the_last_checkpoint(site, local):
    parent = site.parent(site.run("pipelines.train", **ROUNDS, **SLURM, checkpoint_every="1", detach="true"))
    wait_until(lambda: any("seconds" in run.data.metrics for run in site.children_of(parent)))
    site.cluster.lose_node()
    before = {run.info.run_id: site.curve(run, "seconds") for run in site.children_of(parent)}

    wait_until(lambda: site.client.get_run(parent.info.run_id).info.status == "FINISHED")
    rounds = site.children_of(parent)
    assert [run.info.status for run in rounds] == ["FINISHED"] * 2
    assert any(Path(run.data.tags["log"]).read_text(encoding="utf-8").count("Starting with JobEnvironment") == 2 for run in rounds)
    assert site.numbers(site.client.get_run(parent.info.run_id)) == site.numbers(local)
    for run in rounds:  # how long an epoch took shows whether it was computed again
        was = before.get(run.info.run_id, [])
        assert site.curve(run, "seconds")[: len(was)] == was


def test_a_failed_round_says_why_and_the_others_finish_and_resuming_fills_the_matrix(site):
    output = site.run(
        "pipelines.train",
        experiment_type="matrix",
        model="tiny",
        epochs="1",
        rounds="1",
        batch_size="8",
        detach="true",
        extra="--hold",
        **SLURM,
        probe="0",
    )
    parent = site.parent(output)
    assert (parent.info.status, "uar" in output) == ("RUNNING", False)
    in_the_way = site.project.root / "checkpoints" / parent.info.run_id / "all_but_SAVEE_to_SAVEE_round_0"
    in_the_way.write_text("no folder", encoding="utf-8")
    site.cluster.run("scontrol", "release", *site.cluster.run("squeue", "--noheader", "--format=%A").split())
    wait_until(lambda: site.client.get_run(parent.info.run_id).info.status == "FAILED")
    children = {run.data.tags["test_dataset"]: run for run in site.children_of(parent)}
    assert {name: run.info.status for name, run in children.items()} == {"CREMA": "FINISHED", "SAVEE": "FAILED", "TESS": "FINISHED"}
    assert children["SAVEE"].data.tags["mlflow.note.content"].startswith("Failed: cannot save ")
    note = site.client.get_run(parent.info.run_id).data.tags["mlflow.note.content"]
    assert note.startswith("Failed: 1 of 3 rounds failed: all but SAVEE to SAVEE round 0: ")

    in_the_way.unlink()
    wait_until(lambda: not site.cluster.run("squeue", "--noheader"))
    site.run("pipelines.train", resume=parent.info.run_id, figures="png", **SLURM)
    assert site.client.get_run(parent.info.run_id).info.status == "FINISHED"
    cells = pd.read_csv(site.client.download_artifacts(parent.info.run_id, "matrix.csv"))
    assert cells.iloc[:, 1:].notna().to_numpy().sum() == 3
    assert "figures/matrix.png" in {item.path for item in site.client.list_artifacts(parent.info.run_id, "figures")}


def test_several_workers_on_one_study_lose_no_trial_and_do_none_twice(site):
    given = {
        "test_dataset": "TESS",
        "model": "tiny",
        "freeze": "encoder",
        "epochs": "2",
        "rounds": "1",
        "trials": "6",
        "startup_trials": "3",
        "workers": "2",
    }
    output = site.run("pipelines.sweep", **given, **SLURM)
    parent = site.parent(output)
    assert parent.info.status == "FINISHED"
    assert len(parent.data.tags["job"].split()) == 2, "the array, and before it the job that fills the caches"
    trials = [run for run in site.children_of(parent) if run.data.tags["training"].startswith("trial")]
    assert [run.data.tags["training"] for run in trials] == [f"trial {number}" for number in range(6)]
    assert {run.info.status for run in site.children_of(parent)} == {"FINISHED"}
    table = pd.read_csv(site.client.download_artifacts(parent.info.run_id, "trials.csv"))
    assert table["number"].tolist() == [*range(6)]
    assert set(table["state"]) == {"COMPLETE"}
    assert table["value"].tolist() == [run.data.metrics["best/val_uar"] for run in trials]
    assert len({run.data.tags.get("log") for run in trials}) <= 2


@pytest.mark.slow
def test_one_round_on_several_gpus_runs_under_torchrun_with_the_numbers_of_one_process(site, local):
    parent = site.parent(site.run("pipelines.train", **ROUNDS | {"rounds": "1"}, **SLURM, gpus="2"))
    (together,), alone = site.children_of(parent), site.children_of(local)[0]
    assert together.info.status == "FINISHED"
    assert metrics_of(together) == pytest.approx(metrics_of(alone), abs=1e-4)
    assert "torch.distributed.run" in Path(together.data.tags["log"]).read_text(encoding="utf-8")


@pytest.fixture
def refuse(site) -> Callable[[Mapping[str, str], Mapping[str, str]], str]:
    """Give parameters that must be refused before anything is queued or recorded; get the line that says why."""

    def refuse(parameters: Mapping[str, str], variables: Mapping[str, str]) -> str:
        before = len(site.runs()), site.cluster.run("scontrol", "show", "jobs", "--oneliner").count("JobName=ser-array")
        code, _, printed = site.project.call("pipelines.train", ROUNDS | SLURM | parameters, site.variables | variables)
        assert code == 2
        after = len(site.runs()), site.cluster.run("scontrol", "show", "jobs", "--oneliner").count("JobName=ser-array")
        assert (after, site.cluster.run("squeue", "--noheader")) == (before, "")
        (line,) = printed.splitlines()
        return line

    return refuse


WRONG = {
    "no sbatch": ({}, {"PATH": "/nowhere"}, "launcher=slurm: no sbatch, srun, squeue, scancel, scontrol on the path, expected "),
    "unknown partition": ({"partition": "gpu-long"}, {}, "unknown partition 'gpu-long', expected one of: main (slurm.partition"),
    "a database": ({}, {"MLFLOW_TRACKING_URI": "postgresql://127.0.0.1:9/ser"}, "tracking URI postgresql://127.0.0.1:9/ser "),
    "too many cores": ({"cpus": "99"}, {}, "launcher=slurm: Slurm refuses these settings ("),
    "longer than the partition": ({"time": "2:00:00"}, {}, "time=2:00:00 is longer than partition main allows, expected "),
    "no cluster": ({}, {"SLURM_CONF": "/dev/null"}, "launcher=slurm: the cluster does not answer ("),
    "no server": ({}, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "no tracking server answers at http://127.0.0.1:9 "),
    "no server for nodes": ({}, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}, "launcher=slurm: node "),
    "a folder that is none": ({"paths.cache": "/dev/null/cache"}, {}, "paths.cache=/dev/null/cache cannot be written to ("),
    "no time to save": ({"time": "1"}, {}, "grace=120 leaves no time to train within time=1, expected "),
    "no time": ({"time": "soon"}, {}, "time=soon is not accepted, expected"),
}


@pytest.mark.parametrize(("given", "variables", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_work_is_one_line_and_nothing_is_queued(refuse, given, variables, message):
    assert refuse(given, variables).startswith(f"error: {message}")


def test_the_plan_in_the_guide_is_what_its_script_prints():
    printed = subprocess.run([sys.executable, "examples/cluster_plan.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.rstrip() in (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
