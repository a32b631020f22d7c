"""Rounds as jobs of a real Slurm cluster: the numbers of a plain run, whatever happens to the jobs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from tests.launching.site import Site, differences
from tests.processes import Command, Signal, run_module
from tests.project import ROOT, metrics_of, words_of
from tests.servers import MlflowServer, SlurmCluster

pytestmark = [
    pytest.mark.timeout(1800, func_only=True),  # every job imports torch, on cores that other tests share
    pytest.mark.skipif(bool(SlurmCluster.obstacle()), reason=SlurmCluster.obstacle()),
]
ROUNDS = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "epochs": "6", "rounds": "2", "lr": "3.0e-3", "figures": "png"}
MATRIX = {"experiment_type": "matrix", "model": "tiny", "epochs": "1", "rounds": "1", "batch_size": "8", "figures": "png"}
SWEEP = {
    "test_dataset": "TESS",
    "model": "tiny",
    "freeze": "encoder",
    "epochs": "2",
    "rounds": "1",
    "trials": "6",
    "startup_trials": "6",
    "figures": "png",
}
"""No trial depends on another, so that any number of workers has the numbers of one."""
SLURM = {"launcher": "slurm"}


def wait_until(is_so, seconds: float = 1500) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site(project, tmp_path_factory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    server = MlflowServer(f"sqlite:///{folder}/mlflow.db", folder)
    site = Site(project.copy(folder / "project"), SlurmCluster(folder / "cluster"), server.uri)
    site.project.set(time='"10"', cpus="1", memory="1G", gpus="0", at_once="4", probe="30")
    try:
        site.cluster.start()
        server.start()
        yield site
    finally:
        site.cluster.stop()
        server.kill()


@pytest.fixture(scope="module")
def local(site) -> Run:
    """The rounds in one process."""
    return site.parent(site.run("pipelines.train", **ROUNDS))


WARNS_ITSELF = """
import os, signal, subprocess, sys, time

def warn(event, arguments):
    if event == "os.rename" and "/CREMA_fold_0_round_1/" in str(arguments[1]) and not os.environ.get("SLURM_RESTART_COUNT"):
        os.environ["SLURM_RESTART_COUNT"] = "0, and warned"
        job = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
        handler, is_warned = signal.getsignal(signal.SIGUSR2), []
        signal.signal(signal.SIGUSR2, lambda *arguments: (is_warned.append(True), handler(*arguments)))
        # every process of the job gets the signal, scancel, too
        subprocess.run(["scancel", "--signal=USR2", job], preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN), check=True)
        while not is_warned:
            time.sleep(0.01)
        signal.signal(signal.SIGUSR2, handler)

sys.addaudithook(warn)
"""
"""Has Slurm warn the job of round 1 when it saves its first state, however slow the machine is."""


@pytest.fixture(scope="module")
def served(site, tmp_path_factory) -> tuple[Run, str]:
    """The rounds as an array, with a server: the experiment, and what the command printed."""
    hook = tmp_path_factory.mktemp("hook")
    (hook / "sitecustomize.py").write_text(WARNS_ITSELF, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hook))
        output = site.run("pipelines.train", **ROUNDS, **SLURM, checkpoint_every="1")
    return site.parent(output), output


def test_an_array_of_rounds_one_of_which_is_warned_and_requeues_itself_has_the_numbers_of_a_local_run(site, local, served):
    parent, output = served
    children = site.children_of(parent)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert site.numbers(parent) == site.numbers(local), "not equal bit for bit"
    assert "CREMA fold 0      1" in output, "no table"
    assert parent.info.run_name == local.info.run_name
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


def die_once_queued(folder: Path, variables: Mapping[str, str], words: Sequence[str]) -> None:
    """Run `main` and kill it when Slurm has its jobs, which the store does not know yet."""
    os.environ.update(variables)
    run_module(folder, "pipelines.train", words, 1, Signal(signal.SIGKILL, "ser_mlops.launching.slurm_submit", "submit", ""))


def test_without_a_server_sync_brings_all_that_a_server_gets_though_the_command_died_as_it_queued_the_jobs(site, served, tmp_path):
    own = site.with_file(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(NO_STORE + WARNS_ITSELF, encoding="utf-8")
    variables = {**own.variables, "PYTHONPATH": str(tmp_path)}
    words = words_of(ROUNDS | SLURM | {"checkpoint_every": "1", "extra": "--hold"})
    Command.start(tmp_path / "log", die_once_queued, own.project.root, variables, words).finish(-signal.SIGKILL)

    said = own.run("pipelines.sync")
    found = re.findall(r"run (\w+): 0 of 2 rounds have ended; in the queue: (\d+)_0, \2_1", said)
    assert found, said
    ((parent_id, array),) = found
    assert own.client.get_run(parent_id).data.tags["job"] == array
    refused = own.project.call("pipelines.train", {"resume": parent_id}, own.variables)[2]
    assert refused.startswith(f"error: jobs {array}_0, {array}_1 of run {parent_id} are still in the queue: wait for them, or scancel ")
    own.cluster.run("scontrol", "release", array)
    wait_until(lambda: not own.cluster.run("squeue", "--noheader"))

    own.project.call("pipelines.table", {"runs": parent_id}, own.variables)  # any command brings the rest
    assert [run.info.status for run in own.children_of(own.client.get_run(parent_id))] == ["FINISHED"] * 2
    said = own.run("pipelines.sync")
    assert "2 of 2 rounds have ended" in said
    assert "CREMA fold 0      1" in said, "no table"
    assert differences(own.content(own.client.get_run(parent_id)), site.content(served[0])) == {}
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


@pytest.mark.parametrize("store", ["server", pytest.param("file", marks=pytest.mark.slow)])
def test_rounds_that_fail_or_are_cancelled_say_why_and_resuming_fills_the_matrix(site, store, tmp_path):
    server, site = site, site if store == "server" else site.with_file(tmp_path)
    output = site.run("pipelines.train", **MATRIX, **SLURM, detach="true", extra="--hold", probe="0")
    parent = site.parent(output)
    assert (parent.info.status, "uar" in output) == ("RUNNING", False)
    in_the_way = site.project.root / "checkpoints" / parent.info.run_id / "all_but_SAVEE_to_SAVEE_round_0"
    in_the_way.write_text("no folder", encoding="utf-8")
    array = parent.data.tags["job"]
    site.cluster.run("scancel", f"{array}_2")
    site.cluster.run("scontrol", "release", *site.cluster.run("squeue", "--noheader", "--format=%A").split())
    if store == "server":
        wait_until(lambda: site.client.get_run(parent.info.run_id).info.status == "FAILED")
    else:
        wait_until(lambda: not site.cluster.run("squeue", "--noheader"))
        assert "1 of 3 rounds finished; the experiment is FAILED: resume=" in site.run("pipelines.sync")
    children = {run.data.tags["test_dataset"]: run for run in site.children_of(parent)}
    assert {name: run.info.status for name, run in children.items()} == {"CREMA": "FINISHED", "SAVEE": "FAILED", "TESS": "KILLED"}
    assert children["SAVEE"].data.tags["mlflow.note.content"].startswith("Failed: cannot save ")
    assert children["TESS"].data.tags["mlflow.note.content"].startswith(f"Interrupted: job {array}_2 was cancelled")
    note = site.client.get_run(parent.info.run_id).data.tags["mlflow.note.content"]
    assert note.startswith("Failed: 1 of 3 rounds failed: all but SAVEE to SAVEE round 0: ")

    in_the_way.unlink()
    wait_until(lambda: not site.cluster.run("squeue", "--noheader"))
    site.run("pipelines.train", resume=parent.info.run_id, figures="png", **SLURM)
    parent = site.client.get_run(parent.info.run_id)
    assert parent.info.status == "FINISHED"
    cells = pd.read_csv(site.client.download_artifacts(parent.info.run_id, "matrix.csv"))
    assert cells.iloc[:, 1:].notna().to_numpy().sum() == 3
    assert "figures/matrix.png" in {item.path for item in site.client.list_artifacts(parent.info.run_id, "figures")}
    if store == "file":
        undisturbed = server.parent(server.run("pipelines.train", **MATRIX, **SLURM))
        assert differences(site.content(parent), server.content(undisturbed)) == {}


@pytest.mark.parametrize(
    ("store", "workers"), [("file", 2), pytest.param("file", 4, marks=pytest.mark.slow), pytest.param("server", 2, marks=pytest.mark.slow)]
)
def test_several_workers_on_one_study_lose_no_trial_and_do_none_twice(site, store, workers, tmp_path):
    server, site = site, site if store == "server" else site.with_file(tmp_path)
    output = site.run("pipelines.sweep", **SWEEP, study=f"{store}-{workers}", workers=str(workers), **SLURM)
    parent = site.parent(output)
    assert "the best settings, tested:" in output
    trials = [run for run in site.children_of(parent) if run.data.tags["training"].startswith("trial")]
    assert [run.data.tags["training"] for run in trials] == [f"trial {number}" for number in range(6)]
    assert {run.info.status for run in (parent, *site.children_of(parent))} == {"FINISHED"}
    table = pd.read_csv(site.client.download_artifacts(parent.info.run_id, "trials.csv"))
    assert table["value"].tolist() == [run.data.metrics["best/val_uar"] for run in trials]
    alone = server.parent(server.run("pipelines.sweep", **SWEEP, study=f"{store}-{workers} alone"))
    assert differences(site.content(parent), server.content(alone)) == {}


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
