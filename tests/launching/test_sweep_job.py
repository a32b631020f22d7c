"""Sweeps with real Optuna studies, a real MLflow store and the tiny model: the same trials whatever disturbs them, each once."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy
from optuna.pruners import MedianPruner

from ser_mlops.commands import parse_given
from ser_mlops.errors import SettingsError, TrackingError, TrainingError
from ser_mlops.experiments import study_search as studies
from ser_mlops.experiments.study import TrialState
from ser_mlops.launching.sweep_job import conduct_sweep
from ser_mlops.settings.reading import parse_settings, read_settings
from ser_mlops.settings.search import Choices, Range
from ser_mlops.tracking.store import open_store, read_artifact
from tests.experiments.builders import sweep_of
from tests.launching.sweeps import DRAWN, JournalSignal, Lab, children, copy_of, num_lines, parent_of
from tests.processes import Command
from tests.project import ROOT, mlflow_run
from tests.tracking.builders import in_store

# What a sweep does


def test_trial_0_holds_the_defaults_and_later_ones_lie_in_the_space(undisturbed):
    trials = undisturbed.study().trials
    assert trials[0].params == {"lr": 0.003, "weight_decay": 0.005}
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert all(1e-6 <= trial.params["lr"] <= 1e-2 and 1e-4 <= trial.params["weight_decay"] <= 1e-1 for trial in trials)
    assert len({trial.params["lr"] for trial in trials}) == 6


def test_a_value_is_the_mean_over_rounds_of_the_best_validation_score(undisturbed):
    client = open_store()
    runs = children(undisturbed, "trial ")
    for trial in undisturbed.study().trials:
        run = runs[f"trial {trial.number}"]
        best = [max(point.value for point in client.get_metric_history(run.info.run_id, f"round{round}/val/uar")) for round in (0, 1)]
        assert trial.value == np.mean(best) == run.data.metrics["best/val_uar"]
        assert trial.intermediate_values[6] == trial.value
        assert trial.intermediate_values[3] == best[0]


def test_only_the_best_settings_are_tested(undisturbed):
    best = undisturbed.study().best_trial
    for run in children(undisturbed, "trial ").values():
        assert not [name for name in run.data.metrics if "test/" in name]
    tested = children(undisturbed, "best: ")
    assert sorted(tested) == ["best: TESS fold 0 round 0", "best: TESS fold 0 round 1"]
    for run in tested.values():
        assert "test/uar" in run.data.metrics
        assert float(run.data.params["train.lr"]) == best.params["lr"]
    assert "test/uar_mean" in parent_of(undisturbed).data.metrics


def test_every_run_is_finished_and_describes_itself(undisturbed):
    runs = [parent_of(undisturbed), *children(undisturbed, "").values()]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["kind"] for run in runs} == {"sweep", "indep"}
    trial = children(undisturbed, "trial 3")["trial 3"]
    assert float(trial.data.params["train.lr"]) == undisturbed.study().trials[3].params["lr"]
    assert trial.data.tags["study"] == "s"


def test_trials_are_named_after_what_they_try_and_the_parent_begins_with_the_best_settings(undisturbed):
    trials = undisturbed.study().trials
    for key, run in children(undisturbed, "trial ").items():
        params = trials[int(key.removeprefix("trial "))].params
        assert run.info.run_name == f"{key}: lr {params['lr']:.3g}, weight_decay {params['weight_decay']:.3g}"
    best = undisturbed.study().best_trial
    note = parent_of(undisturbed).data.tags["mlflow.note.content"]
    tried = f"lr {best.params['lr']:.3g}, weight_decay {best.params['weight_decay']:.3g}"
    assert note.startswith(f"**best of 6 trials: {tried}** (validation uar {best.value:.3f}) — **synthetic data")
    rows = note.partition("```\n")[2].splitlines()
    assert rows[0].split() == ["trial", "state", "validation", "uar", "lr", "weight_decay"]
    assert rows[1].split() == [str(best.number), "COMPLETE", f"{best.value:.4f}", *(f"{value:.4g}" for value in best.params.values())]
    assert note.index(rows[6]) < note.index("The best settings, tested:") < note.index("mlflow run . ")


def test_the_parent_holds_table_figures_and_the_best_settings(undisturbed):
    client, study, parent = open_store(), undisturbed.study(), parent_of(undisturbed)
    table = pd.read_csv(read_artifact(client, parent.info.run_id, "trials.csv"))
    assert table["value"].tolist() == [trial.value for trial in study.trials]
    drawn = {Path(item.path).stem for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"history", "intermediate_values", "contour", "parallel", "importances"} <= drawn
    best = parse_settings(read_artifact(client, parent.info.run_id, "best.yaml").read_text(), "best.yaml")
    assert best.train.lr == study.best_params["lr"]
    assert parent.data.metrics["best_trial"] == study.best_trial.number
    assert parent.data.metrics["best/val_uar_of_trial"] == study.best_value


def test_the_command_of_the_best_trial_gives_its_settings(undisturbed):
    client, parent = open_store(), parent_of(undisturbed)
    command = read_artifact(client, parent.info.run_id, "best_command.txt").read_text()
    words = shlex.split(command)
    assert words[:3] == ["mlflow", "run", "."]
    assert set(words[3::2]) == {"-P"}
    given = parse_given(["train"], "", [f"--{word}" for word in words[4::2]])
    best = parse_settings(read_artifact(client, parent.info.run_id, "best.yaml").read_text(), "best.yaml")
    assert read_settings(given=given).train == best.train


def test_the_same_command_again_trains_nothing_and_tests_nothing(undisturbed, capsys):
    before = undisturbed.history()
    conduct_sweep(sweep_of(**DRAWN))
    assert undisturbed.history() == before
    assert "to train with the best settings:\n  mlflow run . -P test_dataset=TESS" in capsys.readouterr().out


def test_a_study_whose_best_was_tested_gets_no_more_trials(undisturbed):
    with pytest.raises(SettingsError, match=r"the best trial of study 's' was tested already: continue under another name \(study\)"):
        conduct_sweep(sweep_of(sweep__trials="7"))
    with pytest.raises(SettingsError, match=r"study 's' has 6 trials already, trials=5 is fewer"):
        conduct_sweep(sweep_of(sweep__trials="5"))
    assert parent_of(undisturbed).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": {"lr": Range(low=1e-6, high=1e-2, log=True)}}, "space of weight_decay was "),
        ({"md5": "f" * 32}, "frame of TESS was 0{32}, now f{32}"),
        ({"train__epochs": "4"}, "train.epochs was 3, now 4"),
        ({"sweep__sampler": "random"}, "sampler was tpe, now random"),
    ],
)
def test_a_study_of_something_else_is_refused(undisturbed, changes, named):
    with pytest.raises(SettingsError, match=rf"study 's' exists and searches something else \({named}.*choose another name"):
        conduct_sweep(sweep_of(**changes))


def test_pruned_trials_are_finished_runs_without_a_value(lab, monkeypatch):
    monkeypatch.setitem(studies.PRUNERS, "median", lambda steps: MedianPruner(n_startup_trials=1))
    space = {"lr": Range(low=1e-9, high=1e-1, log=True)}
    conduct_sweep(sweep_of(space, train__rounds="1", train__epochs="4", sweep__pruner="median", sweep__sampler="random"))
    trials = lab.study().trials
    runs = children(lab, "trial ")
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        assert ("best/val_uar" in run.data.metrics) == (trial not in pruned)
        assert ("pruned" in run.data.tags) == (trial in pruned)


# Failures


def test_a_trial_that_fails_is_retried_once_and_then_failed(lab):
    space = {"lr": Choices(choices=(0.003, 1e38, 1.1e38))}
    conduct_sweep(sweep_of(space, sweep__sampler="random"))
    trials, runs = lab.study().trials, children(lab, "trial ")
    failed = [trial for trial in trials if trial.params["lr"] > 1]
    assert failed
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        if trial in failed:
            assert trial.state == TrialState.FAIL
            first, second = trial.user_attrs["failures"]
            assert first == second
            assert first.startswith("the lo")
            assert run.info.status == "FAILED"
            assert first in run.data.tags["mlflow.note.content"]
        else:
            assert trial.state == TrialState.COMPLETE
            assert run.info.status == "FINISHED"
    assert parent_of(lab).info.status == "FINISHED"


def test_a_sweep_without_a_complete_trial_fails_and_says_why(lab):
    with pytest.raises(TrainingError, match=r"no trial of study 's' is complete: the lo.*lower lr"):
        conduct_sweep(sweep_of({"lr": Choices(choices=(1e38,))}, train__lr="1e38", sweep__trials="2"))
    assert parent_of(lab).info.status == "FAILED"
    assert {run.info.status for run in children(lab, "trial ").values()} == {"FAILED"}
    assert {run.info.status for run in children(lab, "").values()} == {"FAILED", "KILLED"}


# Disturbances


def difference(ours: object, theirs: object, place: str = "") -> str:
    """Name the first place where two histories differ; empty if there is none."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(filter(None, (difference(ours[key], theirs[key], f"{place}/{key}") for key in ours)), "")
    return "" if ours == theirs else f"{place}: {str(ours)[:500]} != {str(theirs)[:500]}"


def check_equals_undisturbed(lab: Lab, swept: Path, storage: str | None = None) -> None:
    history = lab.history(storage)
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        assert difference(history, Lab(swept).history()) == ""


def kill_and_resume(lab: Lab, kills: int, seed: int, total: int, **given: str) -> None:
    """Kill a sweep at random lines of its journal, then run it to its end."""
    for line in sorted(random.Random(seed).sample(range(2, total), kills)):
        lab.kill_at(line, **given)
    lab.start(**given).finish()


def test_a_sweep_that_was_killed_and_started_again_equals_the_undisturbed_one(lab, swept):
    kill_and_resume(lab, kills=1, seed=19730309, total=num_lines(Lab(swept).journal), **DRAWN)
    check_equals_undisturbed(lab, swept)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"sweep__sampler": "gp", "sweep__startup_trials": "2", "sweep__trials": "5"}, {TrialState.COMPLETE}),
        ({"sweep__sampler": "qmc", "sweep__trials": "4"}, {TrialState.COMPLETE}),
        ({"sweep__sampler": "random", "sweep__pruner": "hyperband"}, {TrialState.COMPLETE, TrialState.PRUNED}),
    ],
    ids=["gp", "qmc", "hyperband"],
)
def test_a_sweep_by_other_means_that_was_killed_equals_the_undisturbed_one(lab, furnished, tmp_path, given, expected):
    given = given | {"train__rounds": "1"}
    undisturbed = copy_of(furnished, tmp_path / "undisturbed")
    with in_store(f"sqlite:///{undisturbed}/mlflow.db", undisturbed):
        conduct_sweep(sweep_of(**given))
        assert {trial.state for trial in Lab(undisturbed).study().trials} == expected
    kill_and_resume(lab, kills=1, seed=2, total=num_lines(Lab(undisturbed).journal), **given)
    check_equals_undisturbed(lab, undisturbed)


def test_a_sweep_by_qmc_tries_the_same_with_any_number_of_workers(lab, furnished, tmp_path):
    given = {"sweep__sampler": "qmc", "sweep__trials": "4", "train__rounds": "1"}
    alone = copy_of(furnished, tmp_path / "alone")
    with in_store(f"sqlite:///{alone}/mlflow.db", alone):
        conduct_sweep(sweep_of(**given))
        trials = Lab(alone).history()["trials"]
    lab.start(sweep__workers="2", **given).finish()
    assert lab.history()["trials"] == trials


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_that_was_killed_five_times_equals_the_undisturbed_one(lab, swept, seed):
    kill_and_resume(lab, kills=5, seed=seed, total=num_lines(Lab(swept).journal), **DRAWN)
    check_equals_undisturbed(lab, swept)


def test_a_sweep_that_is_interrupted_is_killed_in_mlflow_and_waits_in_optuna(lab, swept):
    assert "Traceback" not in lab.start(JournalSignal(signal.SIGTERM, line=30), **DRAWN).finish(143)
    assert TrialState.RUNNING not in [trial.state for trial in lab.study().trials]
    assert parent_of(lab).info.status == "KILLED"
    assert parent_of(lab).data.tags["mlflow.note.content"] == "Interrupted. To resume, give the same command again."
    assert "RUNNING" not in [run.info.status for run in children(lab, "").values()]
    lab.start(**DRAWN).finish()
    check_equals_undisturbed(lab, swept)


def kill_a_worker(lab: Lab, commands: Sequence[Command], storage: str | None = None) -> None:
    """Wait until a process that is none of the commands runs a trial, and kill it with SIGKILL."""
    own = {command.process.pid for command in commands}
    while all(command.process.is_alive() for command in commands):
        running = lab.study(storage).get_trials(states=(TrialState.RUNNING,)) if _has_study(lab, storage) else []
        pids = {int(worker.split()[1]) for trial in running if (worker := trial.user_attrs.get("worker"))} - own
        if pids:
            os.kill(pids.pop(), signal.SIGKILL)
            return
        time.sleep(0.1)
    pytest.fail("a command ended before one of its workers could be killed")


def _has_study(lab: Lab, storage: str | None) -> bool:
    try:
        lab.study(storage)
    except (KeyError, FileNotFoundError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError):
        return False
    return True


def check_each_once(lab: Lab, trials: int, storage: str | None = None) -> None:
    """Every trial is complete once, in the study and in MLflow, with every epoch of every round once."""
    study = lab.study(storage)
    assert [(trial.number, trial.state) for trial in study.trials] == [(number, TrialState.COMPLETE) for number in range(trials)]
    client, runs = open_store(), children(lab, "trial ")
    assert sorted(runs) == sorted(f"trial {number}" for number in range(trials))
    for trial in study.trials:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["best/val_uar"] == trial.value
        for round in (0, 1):
            points = client.get_metric_history(run.info.run_id, f"round{round}/val/uar")
            assert sorted(point.step for point in points) == [1, 2, 3]
    parent = client.get_run(study.user_attrs["parent"])
    assert parent.info.status == "FINISHED"
    assert "test/uar_mean" in parent.data.metrics


def test_of_four_workers_on_a_fresh_study_one_may_be_killed(lab):
    command = lab.start(sweep__workers="4", sweep__trials="8")
    kill_a_worker(lab, [command])
    assert "its worker ended with exit code -9" in command.finish()
    check_each_once(lab, 8)


def test_a_second_command_helps_with_the_trials_of_the_first(lab):
    commands = [lab.start(sweep__trials="8") for _ in range(2)]
    outputs = [command.finish() for command in commands]
    assert sorted("helping with the trials of" in output for output in outputs) == [False, True], outputs
    check_each_once(lab, 8)
    client = open_store()
    runs = client.search_runs([client.get_experiment_by_name("ser").experiment_id], max_results=1000)
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 1


# PostgreSQL


def test_commands_share_a_study_in_postgresql_and_one_worker_may_be_killed(lab, postgres):
    given = {"sweep__storage": postgres.uri, "sweep__trials": "12"}
    commands = [lab.start(**given, sweep__workers="2") for _ in range(2)]
    kill_a_worker(lab, commands, postgres.uri)
    for command in commands:
        command.finish()
    check_each_once(lab, 12, postgres.uri)


def test_machines_may_open_a_fresh_database_at_once(postgres):
    program = f"from ser_mlops.experiments.study_storage import open_database; open_database({postgres.uri!r})"
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4


def test_a_sweep_goes_on_after_an_outage_of_its_database(lab, postgres, swept):
    command = lab.start(sweep__storage=postgres.uri)
    while not _has_study(lab, postgres.uri) or len(lab.study(postgres.uri).get_trials(states=(TrialState.COMPLETE,))) < 2:
        assert command.process.is_alive(), command.finish()
        time.sleep(0.01)
    os.kill(command.process.pid, signal.SIGSTOP)  # or it might end before its database does
    postgres.stop()
    os.kill(command.process.pid, signal.SIGCONT)
    output = command.finish(TrackingError.exit_code)
    assert "error: the database of study 's' is unreachable" in output
    assert "Traceback" not in output
    postgres.start()
    lab.start(sweep__storage=postgres.uri).finish()
    history = lab.history(postgres.uri)
    with in_store(f"sqlite:///{swept}/mlflow.db", swept):
        assert history["trials"] == Lab(swept).history()["trials"]


# The command


@pytest.mark.slow
def test_mlflow_run_sweeps_and_the_line_it_prints_trains_with_the_best(project):
    given = {"test_dataset": "CREMA", "model": "tiny", "freeze": "encoder", "epochs": "2", "rounds": "1", "lr": "3.0e-3", "trials": "3"}
    output = project.run(*mlflow_run("-e", "sweep", **given))
    (line,) = [line.strip() for line in output.splitlines() if line.strip().startswith("mlflow run . -P")]
    project.run(*shlex.split(line))


def test_a_sampler_that_resumes_from_a_pickle_is_refused():
    refused = r"sampler=cmaes is not accepted, expected tpe, gp, qmc or random \(Optuna resumes cmaes from a pickle in the study"
    with pytest.raises(SettingsError, match=refused):
        read_settings(given={"sweep.sampler": "cmaes"})


def test_gp_is_refused_beside_a_pruner():
    with pytest.raises(SettingsError, match="sampler=gp learns from complete trials alone, and would propose again what pruner=hyperband"):
        sweep_of(sweep__sampler="gp", sweep__pruner="hyperband")


def test_mlflow_run_refuses_a_sweep_in_one_line_and_leaves_no_run_open(project):
    line = project.refuse(*mlflow_run("-e", "sweep", test_dataset="CREMA", model="tiny", sampler="annealing"))
    assert line == "error: sampler=annealing is not accepted, expected 'tpe', 'gp', 'qmc' or 'random'"
    assert "RUNNING" not in {run.info.status for run in project.runs()}
