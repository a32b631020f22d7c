"""What is logged arrives exactly once, and no run is left that claims to go on, whatever happens to the server or to the process."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock

from ser_mlops.errors import Interrupted, TrackingError, TrainingError
from ser_mlops.tracking.notebook import open_child_writer, open_notebook
from ser_mlops.tracking.outbox import RECORDS, Pace, drain
from ser_mlops.tracking.recovery import experiment_in_use
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import EXPERIMENT, children_of, find_run, open_store
from tests.servers import MlflowServer, Postgres
from tests.tracking.builders import (
    EPOCHS,
    NOTE,
    PLANNED,
    TICK_S,
    content_of_experiment,
    descriptions,
    in_store,
    log_end,
    log_epoch,
    log_experiment,
    log_round,
    log_start,
    notebook_of,
    parents,
    serving,
    statuses,
    wait_until_sent,
)

ROOT = Path(__file__).parents[2]


def stop_in_round_1(folder: Path, reason: BaseException) -> str:
    """Run an experiment that ends in the middle of its second child; return the parent."""
    parent_ids = []

    def experiment() -> None:
        with notebook_of(folder) as notebook:
            parent_ids.append(notebook.parent.run_id)
            notebook.parent.params({"train.lr": 1e-5})
            with notebook.child("A round 0") as run:
                log_round(run)
            with notebook.child("A round 1") as run:
                log_start(run)
                log_epoch(run, 0)
                log_epoch(run, 1)
                raise reason

    with pytest.raises(type(reason)):
        experiment()
    return parent_ids[0]


# What is logged


def test_an_experiment_is_one_parent_and_a_child_per_training(undisturbed):
    history = undisturbed
    assert list(history) == ["parent", *(plan.key for plan in PLANNED)]
    assert history["A round 1"] == {
        "name": "A round 1 tiny",
        "status": "FINISHED",
        "has ended": True,
        "metrics": {
            "train/loss": [(0, 2.0), (1, 1.0), (2, 2 / 3), (3, 0.5)],
            "val/uar": [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)],
            "test/uar": [(0, 0.5)],
            "test/recall/sad": [(0, 0.0)],
        },
        "params": {"train.lr": "1e-05", "train.model": "tiny"},
        "tags": {"mlflow.runName": "A round 1 tiny", "round": "1", "training": "A round 1", "validation.A": "by group"},
        "inputs": [
            ("A (train)", "d" * 32, "data/frames/A.parquet", [("mlflow.data.context", "train"), ("profile", '{"clips": 6}')]),
            ("A (validation)", "d" * 32, "data/frames/A.parquet", [("mlflow.data.context", "validation"), ("profile", '{"clips": 3}')]),
        ],
        "artifacts": {"history.csv": b"epoch,loss\n", "predictions/test_A.parquet": b"logits"},
        "models": [
            {
                "name": "model",
                "status": "READY",
                "metrics": {("test/uar", 0.5, 0), ("test/recall/sad", 0.0, 0)},
                "params": {"train.lr": "1e-05", "train.model": "tiny"},
                "files": {"MLmodel", "transformers", "transformers/config.json"},
            }
        ],
    }
    parent = history["parent"]
    assert (parent["name"], parent["status"]) == ("indep A tiny", "FINISHED")
    assert parent["tags"] == {
        "mlflow.runName": "indep A tiny",
        "title": "indep A tiny",
        "kind": "indep",
        "data": "synthetic",
        NOTE: "| round | uar |",
    }
    assert parent["metrics"] == {"test/uar_mean": [(0, 0.5)]}


def test_an_outbox_whose_records_arrived_is_gone(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook:
        assert list((tmp_path / "outbox").glob(f"*/{notebook.parent.run_id}"))
    assert list((tmp_path / "outbox").glob("*/*")) == []


def test_the_run_that_mlflow_opened_is_the_parent_and_no_worker_inherits_it(store, tmp_path, monkeypatch):
    opened = store.create_run(store.get_experiment_by_name(EXPERIMENT).experiment_id, run_name="capable-finch-1")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened.info.run_id)
    with notebook_of(tmp_path / "outbox") as notebook:
        assert notebook.parent.run_id == opened.info.run_id
        assert "MLFLOW_RUN_ID" not in os.environ
    assert [run.info.run_name for run in parents(store)] == ["indep A tiny"]


def test_children_wait_as_scheduled(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook:
        assert statuses(store, notebook.parent.run_id)[1:] == ["SCHEDULED"] * 3
        with notebook.child("A round 0"):
            wait_until_sent(notebook, tmp_path / "outbox")
            assert statuses(store, notebook.parent.run_id) == ["RUNNING", "RUNNING", "SCHEDULED", "SCHEDULED"]


def test_short_runs_have_metrics_of_the_machine_from_begin_and_end(store, tmp_path):
    parent_id = log_experiment(tmp_path / "outbox")
    for run in (store.get_run(parent_id), *children_of(store, store.get_run(parent_id))):
        steps = [point.step for point in store.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")]
        assert len(steps) >= 2
        assert steps == list(range(len(steps)))
        assert "system/system_memory_usage_megabytes" in run.data.metrics


def test_values_that_no_number_can_hold_and_long_texts_are_logged(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook:
        notebook.parent.metrics({"nan": math.nan, "inf": math.inf})
        notebook.parent.describe("x" * 9000)
        notebook.parent.params({"long": "y" * 7000})
    run = store.get_run(notebook.parent.run_id)
    assert math.isnan(run.data.metrics["nan"])
    assert run.data.metrics["inf"] > 1e308
    assert run.data.tags[NOTE] == "x" * 8000
    assert run.data.params["long"] == "y" * 6000


def test_the_link_says_how_to_open_the_run(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook:
        page = f"http://localhost:5000/#/experiments/{notebook.experiment_id}/runs/{notebook.parent.run_id}?workflowType=machine_learning"
        assert notebook.link == f"mlflow ui, then {page}"


# How runs end


def test_an_error_in_a_child_fails_it_and_the_experiment_and_says_why(store, tmp_path):
    parent_id = stop_in_round_1(tmp_path / "outbox", ValueError("no such thing"))
    assert statuses(store, parent_id) == ["FAILED", "FINISHED", "FAILED", "KILLED"]
    assert descriptions(store, parent_id) == ["Failed: ValueError: no such thing", "", "Failed: ValueError: no such thing", ""]


def test_a_mistake_that_the_user_can_mend_is_told_in_its_own_words(store, tmp_path):
    parent_id = stop_in_round_1(tmp_path / "outbox", TrainingError("the loss is not finite, try a smaller lr"))
    assert descriptions(store, parent_id)[0] == "Failed: the loss is not finite, try a smaller lr"


@pytest.mark.parametrize("interruption", [Interrupted("SIGTERM"), KeyboardInterrupt()])
def test_an_interruption_kills_and_says_how_to_go_on(store, tmp_path, interruption):
    parent_id = stop_in_round_1(tmp_path / "outbox", interruption)
    assert statuses(store, parent_id) == ["KILLED", "FINISHED", "KILLED", "KILLED"]
    said = f"Interrupted. To resume: `mlflow run . -P resume={parent_id}`."
    assert descriptions(store, parent_id) == [said, "", said, ""]


def contradict(run: RunLog) -> None:
    run.params({"lr": 1})
    run.params({"lr": 2})
    run.metrics({"uar": 0.5})


def test_a_record_that_the_store_refuses_fails_the_experiment_and_is_kept(store, tmp_path):
    refusal = r"the tracking store refused a record: .*lr.*kept in .*refused.jsonl"
    with pytest.raises(TrackingError, match=refusal), notebook_of(tmp_path / "outbox") as notebook:
        contradict(notebook.parent)
    run = store.get_run(notebook.parent.run_id)
    assert (run.info.status, run.data.params, run.data.metrics["uar"]) == ("FAILED", {"lr": "1"}, 0.5)
    (kept,) = (tmp_path / "outbox").glob("*/*/refused.jsonl")
    assert '"lr": "2"' in kept.read_text()
    log_experiment(tmp_path / "outbox")  # it holds up no later start


def test_a_run_of_which_a_record_was_refused_is_not_finished(store, tmp_path):
    with (
        pytest.raises(TrackingError, match="refused a record"),
        notebook_of(tmp_path / "outbox") as notebook,
        notebook.child("A round 0") as child,
    ):
        contradict(child)
    run = store.get_run(notebook.children["A round 0"].run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags[NOTE].startswith("Failed: the tracking store refused a record: ")


def test_a_run_that_somebody_deletes_stops_the_experiment(store, tmp_path):
    def log_for_long(run: RunLog) -> None:
        store.delete_run(run.run_id)
        for epoch in range(1000):
            log_epoch(run, epoch)
            time.sleep(TICK_S)

    with pytest.raises(TrackingError, match="refused a record"), notebook_of(tmp_path / "outbox") as notebook:
        log_for_long(notebook.children["A round 0"])
    assert store.get_run(notebook.parent.run_id).info.status == "FAILED"


# Resuming


def go_on(folder: Path, parent_id: str) -> list[str]:
    """Resume an experiment as the laboratory does, logging anew what it may have logged before; return the children that were run."""
    with notebook_of(folder, resume=parent_id) as notebook:
        assert notebook.is_resumed
        unfinished = [key for key, run in notebook.children.items() if run.status != "FINISHED"]
        for key in unfinished:
            with notebook.child(key) as run:
                run.params({"train.resume": parent_id})
                log_round(run)
        notebook.parent.params({"train.lr": "another"})
        notebook.parent.metrics({"test/uar_mean": 0.5})
        notebook.parent.describe("| round | uar |")
    return unfinished


def without_resume(history: dict[str, dict]) -> dict[str, dict]:
    """The same, but for the param that says that a run was resumed."""
    params = {key: {name: value for name, value in run["params"].items() if name != "train.resume"} for key, run in history.items()}
    return {key: run | {"params": params[key]} for key, run in history.items()}


def test_a_resumed_experiment_equals_an_undisturbed_one(store, undisturbed, tmp_path, monkeypatch):
    parent_id = stop_in_round_1(tmp_path / "outbox", Interrupted("SIGTERM"))
    children = [run.info.run_id for run in children_of(store, store.get_run(parent_id))]
    opened = store.create_run(store.get_experiment_by_name(EXPERIMENT).experiment_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", opened.info.run_id)
    assert go_on(tmp_path / "outbox", parent_id) == ["A round 1", "A round 2"]
    assert without_resume(content_of_experiment(store, parent_id)) == undisturbed
    assert [run.info.run_id for run in children_of(store, store.get_run(parent_id))] == children
    assert store.get_run(opened.info.run_id).data.tags["mlflow.parentRunId"] == parent_id, "it stands among the experiments"
    assert len(parents(store)) == 1


def test_metrics_of_the_machine_go_on_after_the_last_step(store, tmp_path):
    parent_id = stop_in_round_1(tmp_path / "outbox", Interrupted("SIGTERM"))
    go_on(tmp_path / "outbox", parent_id)
    for run in (store.get_run(parent_id), children_of(store, store.get_run(parent_id))[1]):
        steps = [point.step for point in store.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")]
        assert steps == list(range(len(steps)))
        assert len(steps) >= 3


def test_resuming_what_is_finished_runs_and_changes_nothing(store, tmp_path):
    parent_id = log_experiment(tmp_path / "outbox")
    before = content_of_experiment(store, parent_id)
    assert go_on(tmp_path / "outbox", parent_id) == []
    assert content_of_experiment(store, parent_id) == before


def test_only_an_experiment_can_be_resumed(store, tmp_path):
    parent_id = log_experiment(tmp_path / "outbox")
    child_id = children_of(store, store.get_run(parent_id))[0].info.run_id
    with pytest.raises(TrackingError, match=f"run {child_id} is one round of experiment {parent_id}: resume that experiment"):
        go_on(tmp_path / "outbox", child_id)
    with pytest.raises(TrackingError, match=r"no run 'nonsense' in sqlite:.*, expected a run id as the MLflow UI shows it"):
        go_on(tmp_path / "outbox", "nonsense")
    store.delete_run(parent_id)
    with pytest.raises(TrackingError, match=f"run '{parent_id}' was deleted, restore it"):
        find_run(store, parent_id)


def test_an_experiment_that_is_running_cannot_be_resumed_beside_it(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook, pytest.raises(TrackingError, match="is being written by another process"):
        go_on(tmp_path / "outbox", notebook.parent.run_id)


# A process that writes children of a parent that another one leads

WRITER = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from ser_mlops.tracking.notebook import open_child_writer
from tests.tracking.builders import log_epoch, log_start

parent_id, run_id = sys.argv[1:]
with open_child_writer(parent_id, {{}}, Path("outbox")) as writer, writer.child(run_id, is_new=True) as run:
    log_start(run)
    log_epoch(run, 0)
    log_epoch(run, 1)
    print("half", flush=True)
    time.sleep(600)
"""


def test_a_writer_goes_on_where_one_that_was_killed_stopped(store, undisturbed, tmp_path):
    tags = {"kind": "indep", "data": "synthetic"}
    with open_notebook(name="indep A tiny", tags=tags, folder=tmp_path / "outbox", pace=Pace(TICK_S)) as notebook:
        parent_id, run_ids = notebook.parent.run_id, notebook.schedule(PLANNED)
        assert notebook.schedule(PLANNED) == run_ids
        victim = subprocess.Popen(
            [sys.executable, "-c", WRITER, parent_id, run_ids["A round 0"]], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        assert victim.stdout.readline() == "half\n"
        victim.kill()
        victim.communicate()
        with open_child_writer(parent_id, tags, tmp_path / "outbox") as writer:
            for number, run_id in enumerate(run_ids.values()):
                with writer.child(run_id, is_new=number > 0) as run:
                    log_round(run)
        notebook.parent.params({"train.lr": 1e-5})
        notebook.parent.metrics({"test/uar_mean": 0.5})
        notebook.parent.describe("| round | uar |")
    assert content_of_experiment(store, parent_id) == undisturbed


def test_what_a_writer_left_is_sent_at_its_leaders_word(store, tmp_path):
    with open_notebook(name="indep A tiny", tags={}, folder=tmp_path / "outbox", pace=Pace(TICK_S)) as notebook:
        parent_id, run_id = notebook.parent.run_id, notebook.schedule(PLANNED)["A round 0"]
        victim = subprocess.Popen([sys.executable, "-c", WRITER, parent_id, run_id], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert victim.stdout.readline() == "half\n"
        victim.kill()
        victim.communicate()
        notebook.collect()
        assert content_of_experiment(store, parent_id)["A round 0"]["metrics"]["train/loss"] == [(0, 2.0), (1, 1.0)]
        assert store.get_run(parent_id).info.status == "RUNNING"
    assert statuses(store, parent_id)[1:] == ["RUNNING", "SCHEDULED", "SCHEDULED"]


def test_what_a_command_left_that_died_with_its_writers_is_closed_at_the_next_start(store, tmp_path):
    tags = {"kind": "indep", "data": "synthetic"}
    with open_notebook(name="indep A tiny", tags=tags, folder=tmp_path / "outbox", stays_open=True) as notebook:
        parent_id, run_id = notebook.parent.run_id, notebook.schedule(PLANNED)["A round 0"]
    in_use = tmp_path / parent_id / "in_use.lock"
    in_use.parent.mkdir()
    with FileLock(in_use):
        victim = subprocess.Popen([sys.executable, "-c", WRITER, parent_id, run_id], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert victim.stdout.readline() == "half\n"
        victim.kill()
        victim.communicate()
        with pytest.raises(TrackingError, match="is in use by another command"), experiment_in_use(tmp_path, parent_id):
            pass
        log_experiment(tmp_path / "outbox")
        assert statuses(store, parent_id) == ["RUNNING", "RUNNING", "SCHEDULED", "SCHEDULED"]
    dies = WRITER.replace("time.sleep(600)", "import os; os._exit(9)")
    assert subprocess.run([sys.executable, "-c", dies, parent_id, run_id], cwd=tmp_path, check=False).returncode == 9
    log_experiment(tmp_path / "outbox")
    assert statuses(store, parent_id) == ["KILLED"] * 4


# A process that dies without a word

VICTIM = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.tracking.builders import log_epoch, log_round, log_start, notebook_of

with notebook_of(Path("outbox")) as notebook:
    notebook.parent.params({{"train.lr": 1e-5}})
    with notebook.child("A round 0") as run:
        log_round(run)
    with notebook.child("A round 1") as run:
        log_start(run)
        log_epoch(run, 0)
        log_epoch(run, 1)
        print(notebook.parent.run_id, flush=True)
        time.sleep(600)
"""


def run_and_kill(folder: Path) -> str:
    """Run an experiment in a process of its own and kill it in the middle of round 1; return the parent."""
    victim = subprocess.Popen([sys.executable, "-c", VICTIM], cwd=folder, stdout=subprocess.PIPE, text=True)
    parent_id = victim.stdout.readline().strip()
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    return parent_id


def test_the_next_start_on_the_same_store_closes_the_runs_of_a_killed_process_and_sends_what_it_left(store, fresh_database, tmp_path):
    parent_id = run_and_kill(tmp_path)
    (tmp_path / "other").mkdir()
    shutil.copy(fresh_database, tmp_path / "other")
    with in_store(f"sqlite:///{tmp_path}/other/mlflow.db", tmp_path / "other"):
        log_experiment(tmp_path / "outbox")
    assert store.get_run(parent_id).info.status == "RUNNING"
    assert list((tmp_path / "outbox").glob(f"*/{parent_id}/{RECORDS}"))

    log_experiment(tmp_path / "outbox")
    history = content_of_experiment(store, parent_id)
    assert [history[key]["status"] for key in history] == ["KILLED", "FINISHED", "KILLED", "KILLED"]
    assert all(run["has ended"] for run in history.values())
    assert history["A round 1"]["metrics"] == {"train/loss": [(0, 2.0), (1, 1.0)], "val/uar": [(0, 0.0), (1, 0.1)]}
    said = f"The process died without reporting. To resume: `mlflow run . -P resume={parent_id}`."
    assert [run["tags"].get(NOTE) for run in history.values()] == [said, None, said, said]


def test_a_killed_experiment_that_is_resumed_equals_an_undisturbed_one(store, undisturbed, tmp_path):
    parent_id = run_and_kill(tmp_path)
    assert go_on(tmp_path / "outbox", parent_id) == ["A round 1", "A round 2"]
    assert without_resume(content_of_experiment(store, parent_id)) == undisturbed


def test_runs_of_a_live_process_are_left_to_it(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook, notebook.child("A round 0"):
        log_experiment(tmp_path / "outbox")
        assert store.get_run(notebook.parent.run_id).info.status == "RUNNING"
    assert store.get_run(notebook.parent.run_id).info.status == "FINISHED"


def test_records_that_come_twice_change_nothing(store, tmp_path):
    with notebook_of(tmp_path / "outbox") as notebook:
        for key in notebook.children:
            with notebook.child(key) as run:
                log_round(run)
        wait_until_sent(notebook, tmp_path / "outbox")
        (folder,) = (tmp_path / "outbox").glob("*/*")
        shutil.copytree(folder, tmp_path / "again" / folder.name)
    (tmp_path / "again" / folder.name / "sent").unlink()
    before = content_of_experiment(store, notebook.parent.run_id)
    assert drain(tmp_path / "again", Sender(store).deliver).refusals == []
    after = content_of_experiment(store, notebook.parent.run_id)
    assert after["parent"]["status"] == "RUNNING"  # what the records said before the end
    assert {key: run for key, run in after.items() if key != "parent"} == {key: run for key, run in before.items() if key != "parent"}


BEGINNER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.tracking.builders import log_experiment

print(log_experiment(Path("outbox")))
"""


def test_several_processes_start_on_one_fresh_store(tmp_path):
    with in_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path):
        processes = [subprocess.Popen([sys.executable, "-c", BEGINNER], stdout=subprocess.PIPE, text=True) for _ in range(3)]
        outputs = [process.communicate(timeout=600)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        client = open_store()
        histories = [content_of_experiment(client, output.split()[-1]) for output in outputs]
    assert histories[0] == histories[1] == histories[2]
    assert {run["status"] for history in histories for run in history.values()} == {"FINISHED"}


# A server that goes away


def log_through_outage(folder: Path, server: MlflowServer | Postgres, is_back: bool) -> str:
    """Run an experiment whose server goes away in the middle of round 1, and is back before the end or is not."""
    with notebook_of(folder, patience_s=120 if is_back else 0) as notebook:
        notebook.parent.params({"train.lr": 1e-5})
        for key in notebook.children:
            with notebook.child(key) as run:
                log_start(run)
                log_epoch(run, 0)
                if key == "A round 1":
                    wait_until_sent(notebook, folder)
                    server.kill() if isinstance(server, MlflowServer) else server.stop()
                for epoch in range(1, EPOCHS):
                    log_epoch(run, epoch)
                    time.sleep(2 * TICK_S)
                log_end(run)
        if is_back:
            server.start()
        notebook.parent.metrics({"test/uar_mean": 0.5})
        notebook.parent.describe("| round | uar |")
    return notebook.parent.run_id


def test_a_server_that_is_killed_and_comes_back_has_the_history_of_an_undisturbed_run(server, undisturbed, tmp_path):
    parent_id = log_through_outage(tmp_path / "outbox", server, is_back=True)
    assert content_of_experiment(mlflow.MlflowClient(server.uri), parent_id) == undisturbed


def test_a_database_that_is_stopped_under_its_server_gets_the_history_of_an_undisturbed_run(postgres, undisturbed, tmp_path, capsys):
    for server in serving(MlflowServer(postgres.uri, tmp_path)):
        client = mlflow.MlflowClient(server.uri)
        assert content_of_experiment(client, log_experiment(tmp_path / "outbox")) == undisturbed
        assert content_of_experiment(client, log_through_outage(tmp_path / "outbox", postgres, is_back=True)) == undisturbed

        parent_id = log_through_outage(tmp_path / "outbox", postgres, is_back=False)
        assert "the tracking server is unreachable; unsent records are kept in" in capsys.readouterr().out
        postgres.start()
        log_experiment(tmp_path / "outbox")
        assert content_of_experiment(client, parent_id) == undisturbed
