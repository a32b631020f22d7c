"""Studies in Optuna without any training: who works on which trial, what is drawn for it, and when it is pruned."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, HyperbandPruner

from ser_mlops.experiments import study_storage
from ser_mlops.experiments.hyperband import Hyperband
from ser_mlops.experiments.study import Pruned, Study, TakenTrial, TrialState, open_study
from ser_mlops.experiments.study_search import SAMPLERS, Search
from ser_mlops.experiments.study_storage import locked
from ser_mlops.experiments.study_workers import Workers
from ser_mlops.settings.search import Choices, Range

SPACE = {
    "lr": Range(low=1e-5, high=1e-1, log=True),
    "weight_decay": Range(low=1e-4, high=1, log=True),
    "batch_size": Range(low=1, high=64, log=True),
    "schedule": Choices(choices=("constant", "cosine")),
}
DEFAULTS = {"lr": 1e-3, "weight_decay": 1e-2, "batch_size": 2, "schedule": "constant"}


def small_study(folder: Path, pruner: str, trials: int = 8, storage: str | None = None, sampler: str = "tpe") -> Study:
    study = open_small_study(folder, storage, sampler=sampler, pruner=pruner)
    study.add_trials(trials, DEFAULTS)
    return study


def open_small_study(folder: Path, storage: str | None = None, **changes: Any) -> Study:
    search = {"space": {"lr": SPACE["lr"]}, "integers": frozenset({"batch_size"}), "sampler": "tpe", "startup_trials": 3, "pruner": "none"}
    search |= {"steps": 9, "seed": 1}
    return open_study("s", Search(**(search | changes)), maximize=True, identity={}, storage=storage, folder=folder)


def reported(study: Study, *values: float) -> None:
    """Take a trial and report values at the steps 0, 1, …; its value is their mean."""
    trial = study.take()
    trial.suggest()
    try:
        report_all(trial, *values)
    except Pruned:
        trial.prune()
    else:
        trial.complete(float(np.mean(values)))


def report_all(trial: TakenTrial, *values: float) -> None:
    for step, value in enumerate(values):
        trial.report(value, step)


@pytest.mark.parametrize(("pruner", "bad"), [("median", [0.1]), ("wilcoxon", [0.1, 0.2, 0.1, 0.3])])
def test_a_pruned_trial_has_no_value_and_cannot_be_the_best(tmp_path, pruner, bad):
    study = small_study(tmp_path, pruner)
    for i in range(6):
        reported(study, *(0.5 + 0.01 * i + 0.001 * step for step in range(5)))
    reported(study, *bad, 9.0)
    table = study.table()
    assert table["state"].tolist() == ["COMPLETE"] * 6 + ["PRUNED", "WAITING"]
    assert np.isnan(table["value"][6])
    assert study.best().number == 5
    assert study.reports().query("number == 6")["value"].tolist() == bad


def test_wilcoxon_needs_four_rounds(tmp_path):
    study = small_study(tmp_path, "wilcoxon")
    reported(study, 0.9, 0.9, 0.9)
    reported(study, 0.1, 0.1, 0.1)
    assert study.table()["state"][:2].tolist() == ["COMPLETE"] * 2


def dead_worker() -> str:
    """The signature of a process of this machine that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return f"{os.uname().nodename} {gone.pid} {time.time()}"


def sign(study: Study, number: int, worker: str) -> None:
    study._storage.set_trial_user_attr(study._id_of(number), "worker", worker)


def test_a_trial_in_which_two_workers_died_is_given_up(tmp_path):
    study = small_study(tmp_path, "none", trials=1)
    for deaths in (1, 2):
        trial = study.take()
        assert trial.is_new == (deaths == 1)
        assert not trial.is_given_up
        sign(study, 0, dead_worker())
        assert study.requeue_dead("its worker ended with code -9") == [0]
    trial = study.take()
    assert trial.is_given_up
    assert not trial.fail(trial.failures[-1])
    assert study.table()["state"].tolist() == ["FAIL"]
    assert study.table()["failures"].tolist() == ["its worker ended with code -9; its worker ended with code -9"]


def test_only_trials_of_dead_workers_wait_again(tmp_path):
    study = small_study(tmp_path, "none", trials=4)
    for _ in range(4):
        assert study.take().number is not None
    sign(study, 1, dead_worker())
    sign(study, 2, "elsewhere 1 0.0")
    sign(study, 3, "elsewhere 2 0.0")
    study.workers.share(**{"alive: elsewhere 1 0.0": time.time() - 10, "alive: elsewhere 2 0.0": time.time() - 1000})
    assert study.requeue_dead() == [1, 3]
    assert [trial.state.name for trial in study.trials()] == ["RUNNING", "WAITING", "RUNNING", "WAITING"]
    assert study.take().number == 1
    assert study.take().number == 3
    assert study.take() is None


@pytest.mark.parametrize(("other", "requeued"), [(None, [0]), (10, []), (1000, [0])], ids=["alone", "beside another", "another is dead"])
def test_a_trial_that_nobody_has_signed_waits_again_at_once_where_nobody_can_be_at_it(tmp_path, other, requeued):
    study = small_study(tmp_path, "none", trials=2)
    assert study._storage.set_trial_state_values(study._id_of(0), TrialState.RUNNING)  # its worker died before it signed
    if other is not None:
        study.workers.share(**{"alive: elsewhere 1 0.0": time.time() - other})
    assert study.requeue_dead() == requeued


def test_one_process_leads_until_it_is_gone(tmp_path):
    study = small_study(tmp_path, "none")
    study.workers.share(leader="elsewhere 1 0.0", **{"alive: elsewhere 1 0.0": time.time()})
    assert not study.workers.claim_lead()
    study.workers.share(**{"alive: elsewhere 1 0.0": time.time() - 1000})
    assert study.workers.claim_lead()
    assert study.workers.claim_lead()
    study.workers.share(leader=dead_worker())
    assert study.workers.claim_lead()
    study.workers.resign()
    assert study.workers.shared("leader") is None
    study.workers.share(leader="elsewhere 1 0.0")
    study.workers.resign()
    assert study.workers.shared("leader") == "elsewhere 1 0.0", "another's lead is not to be given away"


def test_of_commands_that_start_at_once_one_leads_whatever_their_folders(tmp_path):
    storage = f"sqlite:///{tmp_path}/studies.db"
    workers = [small_study(tmp_path / str(number), "none", storage=storage).workers for number in range(4)]
    for number, one in enumerate(workers):
        one.me = f"elsewhere {number} 0.0"
        one.share(**{f"alive: {one.me}": time.time()})
    with ThreadPoolExecutor(len(workers)) as pool:
        claims = [*pool.map(Workers.claim_lead, workers)]
    assert sum(claims) == 1
    assert workers[0].shared("leader") == workers[claims.index(True)].me
    assert optuna.get_all_study_names(storage) == ["s"], "the lock leaves nothing behind"


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path, monkeypatch):
    study = small_study(tmp_path, "none")
    holder = locked(study._storage, study.name)
    holder.__enter__()
    monkeypatch.setattr(study_storage, "LOCK_PATIENCE_S", 0.1)
    assert study.workers.claim_lead()


class CutOffError(Exception):
    """Stands for the death of a process."""


def suggest_and_be_cut_off(study: Study, trial: TakenTrial, after: int) -> None:
    """Draw the settings of a trial, of which the storage keeps so many."""
    keep, kept = study._storage.set_trial_param, []

    def keep_some(*values: Any) -> None:
        if len(kept) == after:
            raise CutOffError
        keep(*values)
        kept.append(values)

    study._storage.set_trial_param = keep_some
    with pytest.raises(CutOffError) if after < len(SPACE) else nullcontext():
        trial.suggest()
    del study._storage.set_trial_param


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trial_that_was_cut_off_between_two_draws_draws_the_same(tmp_path, sampler):
    def draw(folder: Path, is_disturbed: bool) -> list[dict]:
        study = open_small_study(folder, space=SPACE, sampler=sampler)
        study.add_trials(8, DEFAULTS)
        drawn = []
        while (trial := study.take()) is not None:
            if is_disturbed:
                suggest_and_be_cut_off(study, trial, after=trial.number % 5)
                trial.give_back()
                study = open_small_study(folder, space=SPACE, sampler=sampler)
                trial = study.take()
            drawn.append(trial.suggest())
            trial.complete(-abs(np.log10(drawn[-1]["lr"]) + 2) - drawn[-1]["weight_decay"])
        return drawn

    undisturbed = draw(tmp_path / "b", False)
    assert draw(tmp_path / "a", True) == undisturbed
    assert len({values["lr"] for values in undisturbed}) > 4


def test_gp_learns_from_finished_trials(tmp_path):
    study = small_study(tmp_path, "none", trials=8, sampler="gp")
    tried = []
    while (trial := study.take()) is not None:
        tried.append(np.log10(trial.suggest()["lr"]))
        trial.complete(-((tried[-1] + 2) ** 2))
    assert min(abs(lr + 2) for lr in tried[:3]) > 0.2
    assert min(abs(lr + 2) for lr in tried[3:]) < 0.05


def test_qmc_covers_the_space_evenly_in_whatever_order_its_trials_are_taken(tmp_path):
    one, many = (small_study(tmp_path / name, "none", trials=9, sampler="qmc") for name in ("one", "many"))
    one_by_one = []
    while (trial := one.take()) is not None:
        one_by_one.append(trial.suggest()["lr"])
        trial.complete(0.5)
    at_once = [many.take() for _ in range(9)]
    assert [trial.suggest()["lr"] for trial in reversed(at_once)] == one_by_one[::-1]
    eighths, _ = np.histogram(np.log10(one_by_one[1:]), bins=8, range=(-5, -1))
    assert eighths.tolist() == [1] * 8


@pytest.mark.parametrize("steps", [1, 3, 20, 81])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_hyperband_stops_the_trials_that_optunas_own_stops(steps, direction):
    random = np.random.default_rng(steps)
    curves = random.random((40, 1)) + 0.3 * random.random((40, steps))

    def stopped_at(pruner: BasePruner) -> list[int]:
        study = optuna.create_study(direction=direction, pruner=pruner, study_name="s")
        ends = []
        for curve in curves:
            trial = study.ask()
            for step, value in enumerate(curve, start=1):
                trial.report(value, step)
                if trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, curve[-1])
            ends.append(step)
        return ends

    ours = stopped_at(Hyperband(steps))
    assert ours == stopped_at(HyperbandPruner(max_resource=steps))
    assert len(set(ours)) > 1 or steps == 1


def test_a_trial_that_was_killed_while_hyperband_stopped_it_is_stopped_when_it_is_resumed(tmp_path):
    study = small_study(tmp_path, "hyperband")
    for value in (0.9, 0.8, 0.7, 0.6):
        reported(study, *[value] * 10)
    trial = study.take()
    trial.suggest()
    with pytest.raises(Pruned):
        report_all(trial, *[0.1] * 10)
    trial.give_back()
    again = open_small_study(tmp_path, pruner="hyperband").take()
    last = max(study.trials()[trial.number].intermediate_values)
    assert again.number == trial.number
    with pytest.raises(Pruned, match=f"at step {last}"):
        again.report(0.1, last)
