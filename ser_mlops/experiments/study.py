"""The study of a sweep, in Optuna: its trials wait from the start, each is taken once, and one whose worker died waits again."""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as TrialState  # for the modules that look at trials

from ser_mlops.errors import SettingsError
from ser_mlops.experiments.study_search import PRUNERS, Search
from ser_mlops.experiments.study_storage import open_database, open_journal
from ser_mlops.experiments.study_workers import HEARTBEAT_S, Workers

FAILURES = "failures"
MAX_FAILURES = 2
UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


class Pruned(Exception):
    """The trial is worse than the others: it ends without a value."""


class Study:
    """A study as one process sees it."""

    def __init__(self, study: optuna.Study, storage: BaseStorage, search: Search) -> None:
        self.study = study
        self.name = study.study_name
        self.search = search
        self._storage = storage
        self.workers = Workers(study, storage)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def num_done(self) -> int:
        """Return how many trials have ended, however they did."""
        return len(self.trials()) - len(self.trials(*UNFINISHED))

    def add_trials(self, total: int, defaults: Mapping[str, Any]) -> None:
        """Add waiting trials until there are `total` in all; trial 0 holds the defaults."""
        existing = len(self.trials())
        if total < existing:
            raise SettingsError(f"study {self.name!r} has {existing} trials already, trials={total} is fewer")
        if existing and total > existing and self.workers.shared("tested"):
            raise SettingsError(f"the best trial of study {self.name!r} was tested already: continue under another name (study)")
        for number in range(existing, total):
            self.study.enqueue_trial({} if number else dict(defaults))

    def requeue_dead(self, reason: str = "") -> list[int]:
        """Requeue the trials of dead workers, under their own numbers; return these. A `reason` counts as a failure of theirs."""
        dead = [trial for trial in self.trials(TrialState.RUNNING) if not self._is_worked_on(trial)]
        for trial in dead:
            if reason:
                failures = [*trial.user_attrs.get(FAILURES, []), reason]
                self._storage.set_trial_user_attr(self._id_of(trial.number), FAILURES, failures)
            self.release(trial.number)
        return [trial.number for trial in dead]

    def _is_worked_on(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker")
        if worker is None:  # taken, and not yet signed: by whom is not known
            assert trial.datetime_start is not None
            return self.workers.has_others() and time.time() - trial.datetime_start.timestamp() < HEARTBEAT_S
        return self.workers.is_alive(worker)

    def release(self, number: int) -> None:
        """Let a trial that was taken wait again."""
        trial_id = self._id_of(number)
        self._storage.set_trial_user_attr(trial_id, "worker", None)
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._storage.get_study_id_from_name(self.name), number)

    def take(self) -> "TakenTrial | None":
        """Take the first waiting trial, if there is one. (`Study.ask` would add a trial where another worker was faster.)"""
        for waiting in self.trials(TrialState.WAITING):
            trial_id = self._id_of(waiting.number)
            try:
                is_ours = self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            except UpdateFinishedTrialError:
                continue
            if is_ours:
                before = self._storage.get_trial(trial_id)
                self._storage.set_trial_user_attr(trial_id, "worker", self.workers.me)
                return TakenTrial(self, Trial(self.study, trial_id), before)
        return None

    def best(self) -> FrozenTrial:
        """Return the complete trial with the best value.

        Raises:
            ValueError: no trial is complete.
        """
        return self.study.best_trial

    def table(self) -> pd.DataFrame:
        """Return one row per trial: number, state, value, settings, seconds, and why it failed."""
        rows = []
        for trial in self.trials():
            seconds = trial.duration.total_seconds() if trial.duration else np.nan
            value = trial.value if trial.state == TrialState.COMPLETE else np.nan
            failures = "; ".join(trial.user_attrs.get(FAILURES, []))
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state.name,
                    "value": value,
                    **trial.params,
                    "seconds": seconds,
                    "failures": failures,
                }
            )
        return pd.DataFrame(rows)

    def reports(self) -> pd.DataFrame:
        """Return one row per report of a trial: number, step, value."""
        rows = [(trial.number, step, value) for trial in self.trials() for step, value in trial.intermediate_values.items()]
        return pd.DataFrame(rows, columns=["number", "step", "value"])

    def importances(self) -> dict[str, float]:
        """Return each setting's share of the variance of the values."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # imports scikit-learn's ensembles

        return get_param_importances(self.study, evaluator=FanovaImportanceEvaluator(seed=0))


class TakenTrial:
    """A trial that this process runs."""

    def __init__(self, study: Study, trial: Trial, before: FrozenTrial) -> None:
        self.number = trial.number
        self.is_new = "worker" not in before.user_attrs
        self.failures: list[str] = before.user_attrs.get(FAILURES, [])
        self._study = study
        self._trial = trial
        self._reported = before.intermediate_values.keys()
        self._has_ended = False

    @property
    def is_given_up(self) -> bool:
        return len(self.failures) >= MAX_FAILURES

    def suggest(self) -> dict[str, Any]:
        """Return the trial's settings."""
        return self._study.search.suggest(self._study.study, self._trial)

    def report(self, value: float, step: int) -> None:
        """Report what the trial would be worth if it ended here; the steps that were reported before it was resumed are skipped.

        Raises:
            Pruned: the pruner stops it.
        """
        if self._reported and step < max(self._reported):
            return
        if step not in self._reported:
            self._trial.report(value, step)
        if self._trial.should_prune():
            raise Pruned(f"at step {step}")

    def fail(self, reason: str) -> bool:
        """Record a failure and return whether the trial may be retried; the second failure ends it."""
        if not self.is_given_up:
            self.failures = [*self.failures, reason]
            self._trial.set_user_attr(FAILURES, self.failures)
        self.is_new = False
        if self.is_given_up:
            self._end(TrialState.FAIL)
        return not self.is_given_up

    def complete(self, value: float) -> None:
        self._end(TrialState.COMPLETE, value)

    def prune(self) -> None:
        self._end(TrialState.PRUNED)

    def _end(self, state: TrialState, value: float | None = None) -> None:
        self._study.study.tell(self._trial, value, state, skip_if_finished=True)
        self._has_ended = True

    def give_back(self) -> None:
        """Let a trial that has not ended wait for another worker, or for the next start."""
        if not self._has_ended:
            self._study.release(self.number)


def open_study(name: str, search: Search, *, maximize: bool, identity: Mapping[str, str], storage: str | None, folder: Path) -> Study:
    """Open a study, or create it without trials. It is in the database at the URL `storage`, or in a journal under `folder`.

    Raises:
        SettingsError: it exists and searches something else, or on other data; `identity` is all that must agree.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # of the Wilcoxon pruner
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):  # processes that create the tables of a fresh database at once fail
        opened = open_journal(folder / f"{name}.journal") if storage is None else open_database(storage)
        study = optuna.create_study(
            storage=opened,
            study_name=name,
            direction="maximize" if maximize else "minimize",
            pruner=PRUNERS[search.pruner](search.steps),
            load_if_exists=True,
        )
        then = study.user_attrs.get("identity")
        if then is None:
            study.set_user_attr("identity", dict(identity))
        else:
            _check_identity(name, then, identity)
    return Study(study, opened, search)


def _check_identity(name: str, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    differing = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    if differing:
        shown = "; ".join(f"{key} was {then.get(key, 'not given')}, now {now.get(key, 'not given')}" for key in differing[:3])
        raise SettingsError(f"study {name!r} exists and searches something else ({shown}): choose another name (study)")
