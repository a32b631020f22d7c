"""Runs an experiment in this process: every round that is not finished is trained, tested and recorded, then all are summed up."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ser_mlops.data.folders import AUDIO
from ser_mlops.data.progress import progress
from ser_mlops.errors import Interrupted
from ser_mlops.experiments import network
from ser_mlops.experiments.disk import keep_models
from ser_mlops.experiments.drawing import RoundDrawing, round_figures
from ser_mlops.experiments.drawing_process import DrawingProcess
from ser_mlops.experiments.ensembles import log_ensemble
from ser_mlops.experiments.experiment import Experiment, round_key
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.recording import (
    EpochLog,
    begin_training,
    describe_experiment,
    draw,
    draw_missing,
    read_result,
    record_model,
    record_result,
    record_summary,
)
from ser_mlops.experiments.results import Result
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.files import remove
from ser_mlops.scores.predictions import prediction_table
from ser_mlops.serving.champion import register_best
from ser_mlops.tracking.notebook import Notebook, Planned, open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.views import links_to_rounds
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World, join_world, leave_world
from ser_mlops.training.recorder import Recorder
from ser_mlops.training.round import Fitted
from ser_mlops.training.stopping import raising_interrupted


def conduct(experiment: Experiment, tags: Mapping[str, str] | None = None) -> str:
    """Run every round that is not finished yet, record them, and print the table of rounds.

    Under torchrun every process calls this; the first one records, the others train along. Returns the id of the parent run (empty in
    the others); `tags` are set on it besides the experiment's own.
    """
    world = join_world()
    try:
        with raising_interrupted():
            return _lead(experiment, world, tags or {}) if world.is_first else _follow(experiment, world)
    finally:
        leave_world()


def _lead(experiment: Experiment, world: World, tags: Mapping[str, str]) -> str:
    settings = experiment.settings
    checkpoints = Path(settings.paths.checkpoints)
    with open_notebook(
        name=experiment.run_name,
        tags={**experiment.tags_of_parent(), **tags},
        planned=plan_runs(experiment),
        folder=checkpoints / OUTBOX,
        resume=settings.train.resume,
    ) as notebook:
        if not notebook.is_resumed:
            describe_experiment(notebook.parent, settings, experiment.versions)
        notebook.show_curves()
        print(f"watch in the MLflow UI: {notebook.link}", flush=True)
        with naming_resume(notebook.parent.run_id):
            table = conduct_rounds(experiment, notebook, checkpoints / notebook.parent.run_id, world)
    print(closing_text(experiment, notebook, table))
    return notebook.parent.run_id


@contextmanager
def naming_resume(run_id: str) -> Iterator[None]:
    """Let an interruption say how the experiment is resumed."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(f"{error}. To resume: mlflow run . -P resume={run_id}") from None


def _follow(experiment: Experiment, world: World) -> str:
    folder, unfinished = world.receive()
    features = open_inputs(experiment, experiment.trainings if unfinished else (), world)
    for number in unfinished:
        training, round = experiment.rounds[number]
        states = states_folder(Path(folder), training, round)
        train_round(RoundTask(experiment, training, round, states, features, world), None)
    return ""


def closing_text(experiment: Experiment, notebook: Notebook, table: str) -> str:
    """Return what is printed at the end of an experiment; where that is asked for, a model of it is registered and others are freed."""
    settings, parent_id = experiment.settings, notebook.parent.run_id
    name, chosen, registered = settings.train.register, settings.compare, ""
    if name:
        ensemble = log_ensemble(experiment, parent_id) if settings.train.register_as == "ensemble" else None
        registered = register_best(parent_id, name, chosen.seed, chosen.resamples, ensemble) + "\n\n"
    freed = f"{keep_models(parent_id, settings.train.keep)}\n\n" if settings.train.keep != "all" else ""
    return f"{table}\n\n{registered}{freed}open in the MLflow UI: {notebook.link}"


def plan_runs(experiment: Experiment, prefix: str = "") -> list[Planned]:
    """Return the child runs of an experiment, one per training and round; `prefix` tells them from others of the same parent."""
    name, tags = f"{experiment.settings.train.model}{' (synthetic)' * experiment.is_synthetic}", experiment.tags()
    return [
        Planned(
            key=prefix + round_key(training, round),
            name=f"{prefix}round {round}: {training.name} {name}",
            tags=tags
            | {
                "train_datasets": ",".join(training.train_datasets),
                "test_dataset": training.test_dataset,
                "fold": str(training.fold),
                "round": str(round),
                "split": f"{experiment.settings.frames.split} ({training.speakers})",
            },
        )
        for training, round in experiment.rounds
    ]


def conduct_rounds(experiment: Experiment, notebook: Notebook, folder: Path, world: World, prefix: str = "") -> str:
    """Run and record every round that is not finished, then their summary; return the table of rounds."""
    rounds = experiment.rounds
    runs = [notebook.children[prefix + round_key(*pair)] for pair in rounds]
    unfinished = [number for number, run in enumerate(runs) if run.status != "FINISHED"]
    world.broadcast((str(folder), unfinished))
    features = open_inputs(experiment, experiment.trainings if unfinished else (), world)
    results = []
    bar = progress(len(rounds), experiment.name, "round")
    figures = experiment.settings.drawing.figures
    with bar, DrawingProcess() if len(unfinished) > 1 and figures != "none" else nullcontext() as artist:
        for number, (training, round) in enumerate(rounds):
            run = runs[number]
            if number in unfinished:
                states = states_folder(folder, training, round)
                with notebook.child(prefix + round_key(training, round)):
                    result = conduct_round(RoundTask(experiment, training, round, states, features, world), run, artist)
                remove(states)
            else:
                result = read_result(notebook.client, run.run_id, training, round, is_baseline=experiment.is_baseline)
                draw_missing(notebook.client, run, result, experiment.note, figures)
            results.append(result)
            bar.update()
        links = links_to_rounds(notebook.experiment_id, notebook.parent.run_id, [run.run_id for run in runs])
        return record_summary(notebook.parent, experiment.title, results, experiment.note, links, figures, experiment.emotions_note)


def conduct_round(task: RoundTask, run: RunLog, artist: DrawingProcess | None = None) -> Result:
    """Train, test and record one round. Its figures are left to the `artist`, if there is one, who may draw them after this returns."""
    experiment = task.experiment
    begin_training(run, task.training, experiment.settings, experiment.versions)
    result = train_round(task, run)
    record_result(run, result, experiment.note)
    record_model(run, result, experiment.settings, experiment.versions, experiment.note)
    drawing = RoundDrawing.of(result, experiment.note, experiment.settings.drawing.figures)
    if artist is None:
        draw(run, round_figures(drawing), drawing.figures)
    else:
        artist.draw(run, drawing)
    return replace(result, fitted=None)  # or the models of all rounds would stay on the device


def states_folder(folder: Path, training: Training, round: int) -> Path:
    """Return the folder for the states of one round, in that of its experiment."""
    return folder / round_key(training, round).replace(" ", "_").replace(",", "")


def train_round(task: RoundTask, run: RunLog | None) -> Result:
    """Train and test one round; the first process passes the run to record into."""
    started = time.perf_counter()
    fitted = fit(task, EpochLog(run))
    predict, tests = _method_of(task.experiment).predict, task.training.tests
    logits = {name: predict(task, fitted, Clips.from_frame(frame, AUDIO)) for name, frame in tests.items()}
    return Result(
        training=task.training,
        round=task.number,
        best_epoch=fitted.best_epoch,
        history=pd.DataFrame([{"epoch": epoch, **metrics} for epoch, metrics in enumerate(fitted.history, start=1)]),
        tables={name: prediction_table(frame, logits[name], task.training.space.classes) for name, frame in tests.items()},
        fitted=fitted,
        seconds=time.perf_counter() - started,
        is_baseline=task.experiment.is_baseline,
    )


class Method(Protocol):
    """How rounds of one kind of model are trained and tested."""

    def open_inputs(self, experiment: Experiment, trainings: Sequence[Training], world: World) -> Features | None:
        """Open, for the trainings that are to be run, what is computed once per clip."""

    def fit(self, task: RoundTask, recorder: Recorder) -> Fitted[Any]:
        """Train one round, or resume it where its folder holds a state."""

    def predict(self, task: RoundTask, fitted: Fitted[Any], clips: Clips) -> np.ndarray:
        """Return the logits of clips."""


def _method_of(experiment: Experiment) -> Method:
    if not experiment.is_baseline:
        return network
    from ser_mlops.experiments import baseline  # which loads scikit-learn

    return baseline


def open_inputs(experiment: Experiment, trainings: Sequence[Training], world: World) -> Features | None:
    """Open what the model's rounds read instead of waveforms, if anything; see `Method`."""
    return _method_of(experiment).open_inputs(experiment, trainings, world)


def fit(task: RoundTask, recorder: Recorder) -> Fitted[Any]:
    """Train one round, or resume it where its folder holds a state."""
    return _method_of(task.experiment).fit(task, recorder)
