"""Runs the trials of a sweep: every trial is one child run of the sweep, whose rounds log under round0/, round1/, …

The value of a trial is the mean over its rounds of the best validation score. Its rounds resume from their checkpoints, and what MLflow
has of a run is not logged again.
"""

import multiprocessing
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ser_mlops.errors import TrainingError
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.recording import begin_training
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.experiments.rounds import fit, open_inputs
from ser_mlops.experiments.study import Pruned, Study, TakenTrial
from ser_mlops.experiments.sweep import Sweep, describe_values
from ser_mlops.files import remove
from ser_mlops.scores.metrics import is_better
from ser_mlops.tracking.names import STUDY_TAG
from ser_mlops.tracking.notebook import open_child_writer
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import machine_tags
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import join_world


@dataclass
class TrialLog:
    """The engine's recorder of one round of a trial: metrics under round0/…; Optuna gets what the trial is worth so far."""

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


class Writer(Protocol):
    """Writes the runs of trials, into a store or for those who reach it."""

    def child(self, run_id: str, *, is_new: bool) -> AbstractContextManager[RunLog]:
        """Run a block as one run; one that is not new resumes what an earlier process logged."""


@dataclass(frozen=True)
class Inputs:
    """What trials read instead of waveforms, opened once for all that read the same."""

    opened: dict[str, Features | None] = field(default_factory=dict)

    def of(self, experiment: Experiment) -> Features | None:
        layers = experiment.settings.train.layers  # of what a sweep may search, these alone change what is cached
        if layers not in self.opened:
            self.opened[layers] = open_inputs(experiment, experiment.trainings, join_world())
        return self.opened[layers]


def run_trials(sweep: Sweep, study: Study) -> None:
    """Run waiting trials until there is none, and record them in the store."""
    with open_child_writer(study.workers.shared("parent"), {STUDY_TAG: study.name}, sweep.checkpoints / OUTBOX) as writer:
        write_trials(sweep, study, writer)


def write_trials(sweep: Sweep, study: Study, writer: Writer) -> None:
    """Run waiting trials until there is none. The study says which runs they write to."""
    parent, runs = study.workers.shared("parent"), study.workers.shared("runs")
    inputs = Inputs()
    inputs.of(sweep.experiment)
    while not _is_orphan() and (trial := study.take()) is not None:
        try:
            _run_trial(sweep, trial, writer, runs[str(trial.number)], sweep.checkpoints / parent / f"trial-{trial.number}", inputs)
        finally:
            trial.give_back()


def _is_orphan() -> bool:
    """Say whether the process that started this one to work for it has died."""
    starter = multiprocessing.parent_process()
    return starter is not None and not starter.is_alive()


def _run_trial(sweep: Sweep, trial: TakenTrial, writer: Writer, run_id: str, folder: Path, inputs: Inputs) -> None:
    """Train the rounds of a trial and give the study their mean, once all that is logged of it is on its way."""
    values = trial.suggest()
    experiment = sweep.with_values(values)
    value = None
    try:
        with writer.child(run_id, is_new=trial.is_new) as run:
            run.tags({"mlflow.runName": f"trial {trial.number}: {describe_values(values)}", **machine_tags()})
            begin_training(run, experiment.trainings[0], experiment.settings, experiment.versions)
            if trial.is_given_up:
                raise TrainingError(trial.failures[-1])
            try:
                value = _train_rounds(sweep, experiment, trial, run, folder, inputs.of(experiment))
            except Pruned as pruned:
                run.tags({"pruned": str(pruned)})
            else:
                run.metrics({sweep.value_name: value})
    except TrainingError as error:
        remove(folder)
        if trial.fail(str(error)):
            _run_trial(sweep, trial, writer, run_id, folder, inputs)
        return
    remove(folder)
    if value is None:
        trial.prune()
    else:
        trial.complete(value)


def _train_rounds(sweep: Sweep, experiment: Experiment, trial: TakenTrial, run: RunLog, folder: Path, features: Features | None) -> float:
    train = experiment.settings.train
    scores: list[float] = []
    for round in range(train.rounds):
        log = TrialLog(
            run, trial, sweep.metric, round, round * sweep.epochs_per_round, scores, reports_epochs=sweep.settings.pruner != "wilcoxon"
        )
        fitted = fit(RoundTask(experiment, experiment.trainings[0], round, folder / f"round-{round}", features, join_world()), log)
        score = fitted.best_scores[sweep.metric]
        run.metrics({f"round{round}/best_epoch": fitted.best_epoch, f"round{round}/{sweep.value_name}": score})
        if not log.reports_epochs:
            trial.report(score, step=round)
        scores.append(score)
    return float(np.mean(scores))
