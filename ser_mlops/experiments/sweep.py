"""Sweeps settings: every trial is one child run of the sweep, whose rounds log under round0/, round1/, …

The value of a trial is the mean over its rounds of the best validation score; the test set is looked at once, at the end, by the rounds
of the best settings. Trial 0 holds the defaults. A sweep goes on exactly where it stopped: its study (`studies`) says which trials are
left, the rounds of a trial go on from their checkpoints, and what MLflow has of a run is not logged again.
"""

import json
import multiprocessing
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ser_mlops.commands import run_command
from ser_mlops.errors import SettingsError, TrackingError, TrainingError, one_of
from ser_mlops.experiments.recording import begin_training, describe_experiment, draw
from ser_mlops.experiments.rounds import Experiment, conduct_rounds, fit, open_frozen, plan_runs
from ser_mlops.experiments.study import DEAD_AFTER_S, OPEN, Pruned, Search, Study, TakenTrial, TrialState, needing_storage, open_study
from ser_mlops.files import remove
from ser_mlops.scores.figures.sweeps import trial_contour, trial_curves, trial_history, trial_importances, trial_parallel
from ser_mlops.scores.metrics import LOWER_IS_BETTER, is_better
from ser_mlops.seeds import derive
from ser_mlops.settings.reading import dump_settings, flatten_settings, read_settings, with_train
from ser_mlops.settings.sections import Choices, Range, SweepSettings
from ser_mlops.tracking.notebook import ChildWriter, Planned, open_child_writer, open_notebook
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import STUDY_TAG, open_store, read_artifact
from ser_mlops.training.distributed import join_world
from ser_mlops.training.features import Features
from ser_mlops.training.stopping import raising_interrupted

NUMBERS = {
    "lr": float,
    "weight_decay": float,
    "warmup": float,
    "clip_norm": float,
    "label_smoothing": float,
    "batch_size": int,
    "accumulate": int,
    "epochs": int,
    "early_stopping": int,
}
SEARCHABLE = (*NUMBERS, "schedule", "class_weights")
"""Settings of `train` that change neither who is trained on nor what is frozen, so that all trials share data and caches."""
MIN_WILCOXON_ROUNDS = 4
"""With fewer pairs, the test's p value cannot fall below the pruner's threshold of 0.1."""
BEST = "best: "
END_FILE = "end.txt"
PROCESSES = multiprocessing.get_context("forkserver")
"""Workers are forked from a process that has imported everything and has no threads: a new one starts at once."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep searches, checked."""

    experiment: Experiment
    settings: SweepSettings

    @property
    def name(self) -> str:
        """Name the study: as given, or after all that it depends on, so that the same command goes on with the same study."""
        return self.settings.study or f"sweep-{derive(0, json.dumps(self.identity(), sort_keys=True)):016x}"

    @property
    def metric(self) -> str:
        return self.experiment.settings.train.select_by

    @property
    def value_name(self) -> str:
        return f"best/val_{self.metric}"

    @property
    def checkpoints(self) -> Path:
        return Path(self.experiment.settings.paths.checkpoints)

    def identity(self) -> dict[str, str]:
        """Return what a study must agree with to be gone on with: space, sampler and all that the trainings depend on."""
        space = {f"space of {name}": str(spread) for name, spread in self.settings.space.items()}
        searched = {name: str(getattr(self.settings, name)) for name in ("sampler", "startup_trials", "pruner")}
        return self.experiment.identity() | searched | space

    def tags(self) -> dict[str, str]:
        return self.experiment.tags() | {"kind": "sweep", STUDY_TAG: self.name}

    def defaults(self) -> dict[str, Any]:
        return {name: getattr(self.experiment.settings.train, name) for name in self.settings.space}

    def with_values(self, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment with other settings; trainings stay the same, as nothing they depend on can be searched."""
        return replace(self.experiment, settings=with_train(self.experiment.settings, values, "sweep.space"))

    def study(self) -> Study:
        search = Search(
            space=self.settings.space,
            integers=frozenset(name for name, kind in NUMBERS.items() if kind is int),
            sampler=self.settings.sampler,
            startup_trials=self.settings.startup_trials,
            pruner=self.settings.pruner,
            seed=self.experiment.settings.train.seed,
        )
        return open_study(
            self.name,
            search,
            maximize=self.metric not in LOWER_IS_BETTER,
            identity=self.identity(),
            storage=self.settings.storage,
            folder=Path(self.experiment.settings.paths.studies),
        )


def prepare_sweep(experiment: Experiment, settings: SweepSettings) -> Sweep:
    """Check a sweep before anything is computed.

    Raises:
        SettingsError: the space is empty or wrong, or the command means several trainings.
    """
    train = experiment.settings.train
    if train.resume is not None:
        raise SettingsError("a sweep goes on with its study: give the same command again, without resume")
    if train.register is not None:
        raise SettingsError("a sweep registers no model: give register with the line that trains with its best settings")
    if len(experiment.trainings) > 1:
        raise SettingsError(f"a sweep tunes one training, this command means {len(experiment.trainings)}: choose one fold or test corpus")
    if settings.study is not None and Path(settings.study).name != settings.study:
        raise SettingsError(f"study={settings.study} is not accepted, expected a name that can be a file's")
    if settings.pruner == "wilcoxon" and train.rounds < MIN_WILCOXON_ROUNDS:
        raise SettingsError(
            f"pruner=wilcoxon compares rounds and stops no trial of {train.rounds}: set rounds to {MIN_WILCOXON_ROUNDS} "
            "or more, or pruner=median"
        )
    if not settings.space:
        raise SettingsError(f"sweep.space is empty, expected some of: {', '.join(SEARCHABLE)}")
    sweep = Sweep(experiment, settings)
    for name, spread in settings.space.items():
        _check_spread(sweep, name, spread)
    return sweep


def _check_spread(sweep: Sweep, name: str, spread: Range | Choices) -> None:
    if name not in SEARCHABLE:
        raise SettingsError(f"sweep.space: {one_of('setting', name, SEARCHABLE)}")
    default = sweep.defaults()[name]
    if isinstance(spread, Choices):
        values, has_default = list(spread.choices), default in spread.choices
        if not values:
            raise SettingsError(f"sweep.space.{name}: choices is empty")
    else:
        if name not in NUMBERS:
            raise SettingsError(f"sweep.space.{name}: a range of numbers is not accepted, expected choices: [...]")
        if not spread.low < spread.high or (spread.log and spread.low <= 0):
            expected = "0 < low < high" if spread.log else "low < high"
            raise SettingsError(f"sweep.space.{name}: low {spread.low:g} and high {spread.high:g} are no range, expected {expected}")
        values, has_default = [spread.low, spread.high], default is not None and spread.low <= default <= spread.high
    for value in values:
        sweep.with_values({name: value})
    if not has_default:
        raise SettingsError(f"sweep.space.{name} does not hold the default {default}, with which trial 0 is made: widen it, or give {name}")


# Trials


@dataclass
class TrialLog:
    """The engine's recorder of one round of a trial: metrics under round0/…; Optuna is told what the trial is worth so far."""

    run: RunLog
    trial: TakenTrial
    metric: str
    round: int
    first_step: int
    scores: list[float]
    """Of the rounds before."""
    reports_epochs: bool
    best: float | None = None

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.run.metrics({f"round{self.round}/{name}": value for name, value in metrics.items()}, step=epoch)
        score = metrics[f"val/{self.metric}"]
        if self.best is None or is_better(self.metric, score, self.best):
            self.best = score
        if self.reports_epochs:
            self.trial.report(float(np.mean([*self.scores, self.best])), step=self.first_step + epoch)


def work(sweep: Sweep, study: Study) -> None:
    """Run waiting trials until there is none. The leader has told the study which runs they write to."""
    parent, runs = study.told("parent"), study.told("runs")
    features = open_frozen(sweep.experiment, sweep.experiment.trainings, join_world())
    with open_child_writer(parent, {STUDY_TAG: study.name}, sweep.checkpoints / OUTBOX) as writer:
        while not _is_orphan() and (trial := study.take()) is not None:
            try:
                _run_trial(sweep, trial, writer, runs[str(trial.number)], sweep.checkpoints / parent / f"trial-{trial.number}", features)
            finally:
                trial.give_back()


def _is_orphan() -> bool:
    """Say whether the process that started this one to work for it has died."""
    starter = multiprocessing.parent_process()
    return starter is not None and not starter.is_alive()


def _run_trial(sweep: Sweep, trial: TakenTrial, writer: ChildWriter, run_id: str, folder: Path, features: Features | None) -> None:
    """Train the rounds of a trial and tell the study their mean, once all that is logged of it is on its way."""
    experiment = sweep.with_values(trial.suggest())
    value = None
    try:
        with writer.child(run_id, is_new=trial.is_new) as run:
            begin_training(run, experiment.trainings[0], experiment.settings, experiment.versions)
            if trial.is_given_up:
                raise TrainingError(trial.failures[-1])
            try:
                value = _train_rounds(sweep, experiment, trial, run, folder, features)
            except Pruned as pruned:
                run.tags({"pruned": str(pruned)})
            else:
                run.metrics({sweep.value_name: value})
    except TrainingError as error:
        remove(folder)
        if trial.fail(str(error)):
            _run_trial(sweep, trial, writer, run_id, folder, features)
        return
    remove(folder)
    if value is None:
        trial.prune()
    else:
        trial.complete(value)


def _train_rounds(sweep: Sweep, experiment: Experiment, trial: TakenTrial, run: RunLog, folder: Path, features: Features | None) -> float:
    train = experiment.settings.train
    epochs = sweep.settings.space.get("epochs")
    span = train.epochs if epochs is None else int(epochs.high) if isinstance(epochs, Range) else max(epochs.choices)
    scores: list[float] = []
    for round in range(train.rounds):
        log = TrialLog(run, trial, sweep.metric, round, round * span, scores, reports_epochs=sweep.settings.pruner != "wilcoxon")
        fitted = fit(experiment, experiment.trainings[0], round, folder / f"round-{round}", features, log)
        score = fitted.best_scores[sweep.metric]
        run.metrics({f"round{round}/best_epoch": fitted.best_epoch, f"round{round}/{sweep.value_name}": score})
        if not log.reports_epochs:
            trial.report(score, step=round)
        scores.append(score)
    return float(np.mean(scores))


# The sweep


def conduct_sweep(sweep: Sweep) -> None:
    """Run a sweep, or go on with it; where another process leads it already, help with its trials."""
    study = sweep.study()
    with raising_interrupted(), needing_storage(study.name), study.heartbeat():
        if study.claim_lead():
            try:
                _lead(sweep, study)
            finally:
                study.resign()
        else:
            _help(sweep, study)


def _lead(sweep: Sweep, study: Study) -> None:
    experiment, tags = sweep.experiment, sweep.tags()
    study.add_trials(sweep.settings.trials, sweep.defaults())
    with open_notebook(
        name=f"sweep {experiment.name}",
        tags=tags,
        planned=plan_runs(experiment, BEST),
        folder=sweep.checkpoints / OUTBOX,
        resume=study.told("parent"),
    ) as notebook:
        parent = notebook.parent
        if not notebook.is_resumed:
            describe_sweep(parent, sweep)
        runs = notebook.schedule(
            [Planned(key=f"trial {trial.number}", name=f"trial {trial.number} of {study.name}", tags=tags) for trial in study.trials()]
        )
        study.tell(runs={key.removeprefix("trial "): run_id for key, run_id in runs.items()}, parent=parent.run_id)
        _run_all(sweep, study)
        notebook.collect()
        best = record_study(parent, sweep, study)
        study.tell(tested=True)
        folder = sweep.checkpoints / parent.run_id
        table = conduct_rounds(sweep.with_values(best), notebook, folder, join_world(), BEST)
        told = f"the best settings, tested:\n{table}\n\ntrain with them again:\n  {command_for(sweep, best)}"
        told = f"{study.table().drop(columns='failures').to_string(index=False)}\n\n{told}"
        parent.text(END_FILE, told + "\n")
    remove(folder)
    print(f"{told}\n\nopen in the MLflow UI: {notebook.link}")


def describe_sweep(parent: RunLog, sweep: Sweep) -> None:
    """Log what a sweep is made of."""
    describe_experiment(parent, sweep.experiment.settings, sweep.experiment.versions)
    parent.params({f"sweep.{name}": value for name, value in sweep.settings.model_dump().items()})


def read_end(parent_id: str) -> str:
    """Return what a finished sweep tells: its trials, its best settings and how they did on the test set."""
    return read_artifact(open_store(), parent_id, END_FILE).read_text(encoding="utf-8")


def _help(sweep: Sweep, study: Study) -> None:
    leader = study.told("leader")
    print(f"study {study.name}: helping with the trials of {leader.split()[0] if leader else 'one that ends'}")
    deadline = time.time() + DEAD_AFTER_S
    while study.told("runs") is None:
        if time.time() > deadline:
            raise TrackingError(f"the leader of study {study.name!r} opened no runs: start the sweep again")
        time.sleep(0.5)
    put_opened_run_aside(str(study.told("parent")), "helping call")
    if sweep.settings.workers > 1:
        _run_processes(sweep, study, leads=False)
    else:
        work(sweep, study)
    print("no trial is left to be taken: the leader ends the sweep")


def _run_all(sweep: Sweep, study: Study) -> None:
    """Run all trials: here, or in processes; then wait for those that helpers have taken."""
    study.requeue_dead()
    if sweep.settings.workers > 1:
        open_frozen(sweep.experiment, sweep.experiment.trainings, join_world())  # filled once, before the workers read it
        _run_processes(sweep, study, leads=True)
    while study.trials(*OPEN):
        study.requeue_dead()
        if study.trials(TrialState.WAITING):
            work(sweep, study)
        else:
            time.sleep(0.5)


def _run_processes(sweep: Sweep, study: Study, *, leads: bool) -> None:
    """Run trials in processes of their own. The leader replaces one that dies in a trial, and lets its trial be tried once more."""
    PROCESSES.set_forkserver_preload([__name__])
    workers = [_start_worker(sweep) for _ in range(min(sweep.settings.workers, len(study.trials(*OPEN))))]
    try:
        while workers:
            time.sleep(0.1)
            for worker in [worker for worker in workers if worker.exitcode is not None]:
                workers.remove(worker)
                if worker.exitcode:
                    reason = f"its worker ended with code {worker.exitcode}"
                    numbers = study.requeue_dead(reason) if leads else []
                    print(f"trial {', '.join(map(str, numbers)) or 'none'}: {reason}")
                    workers += [_start_worker(sweep)] if numbers else []
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _start_worker(sweep: Sweep) -> BaseProcess:
    worker = PROCESSES.Process(target=_work_in_process, args=(sweep,))
    worker.start()
    return worker


def _work_in_process(sweep: Sweep) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // sweep.settings.workers))

    def command() -> None:
        study = sweep.study()
        with raising_interrupted(), needing_storage(study.name), study.heartbeat():
            work(sweep, study)

    run_command(command)


# What the parent run holds


def record_study(run: RunLog, sweep: Sweep, study: Study) -> dict[str, Any]:
    """Log the table of trials, the figures and the best settings; return these."""
    table = study.table()
    complete = table[table["state"] == "COMPLETE"]
    if complete.empty:
        reasons = dict.fromkeys(table["failures"].where(table["failures"] != "", table["state"]))
        raise TrainingError(f"no trial of study {study.name!r} is complete: {'; '.join(reasons)}")
    trial = study.best()
    assert trial.value is not None
    best = sweep.defaults() | trial.params
    run.text("trials.csv", table.to_csv(index=False))
    run.text("best.yaml", dump_settings(sweep.with_values(best).settings))
    run.text("best_command.txt", command_for(sweep, best) + "\n")
    run.metrics({f"{sweep.value_name}_of_trial": trial.value, "best_trial": trial.number})
    run.tags({f"best.{name}": value for name, value in best.items()})
    _draw_study(run, sweep, study, complete)
    return best


def _draw_study(run: RunLog, sweep: Sweep, study: Study, complete: pd.DataFrame) -> None:
    metric, note, title = f"validation {sweep.metric}", sweep.experiment.note, f"sweep {sweep.experiment.name}"
    numeric = [name for name, spread in sweep.settings.space.items() if isinstance(spread, Range)]
    log = [name for name in numeric if sweep.settings.space[name].log]  # type: ignore[union-attr]
    draw(run, "history", trial_history(complete, metric, title, note))
    pruned = [trial.number for trial in study.trials() if trial.state == TrialState.PRUNED]
    draw(run, "intermediate_values", trial_curves(study.reports(), metric, title, note, pruned))
    if len(complete) < 3:
        return
    if len(numeric) >= 2 and complete["value"].nunique() > 1:
        draw(run, "contour", trial_contour(complete, numeric[0], numeric[1], log, metric, title, note))
    if numeric:
        draw(run, "parallel", trial_parallel(complete, numeric, log, metric, title, note))
    if complete["value"].nunique() > 1:
        draw(run, "importances", trial_importances(study.importances(), title, note))


def command_for(sweep: Sweep, best: Mapping[str, Any]) -> str:
    """Return the `mlflow run` line that trains with the best settings: all that differs from params.yaml."""
    defaults = flatten_settings(read_settings())
    chosen = flatten_settings(sweep.with_values(best).settings)
    given = [f"{name.removeprefix('train.')}={_as_word(value)}" for name, value in chosen.items() if value != defaults[name]]
    return " ".join(["mlflow run .", *(f"-P {shlex.quote(word)}" for word in given)])


def _as_word(value: object) -> str:
    """Write a value as the command line reads it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
