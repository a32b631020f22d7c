"""Runs the rounds of an experiment, or the workers of a sweep, where the settings say: here, in several processes, or as Slurm jobs."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from ser_mlops.errors import Interrupted, SettingsError, TrackingError, TrainingError
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.recording import describe_experiment
from ser_mlops.experiments.rounds import conduct, plan_runs
from ser_mlops.experiments.study import UNFINISHED, Study
from ser_mlops.experiments.sweep import Sweep
from ser_mlops.experiments.sweep_recording import describe_sweep, read_end
from ser_mlops.launching import slurm_submit as slurm
from ser_mlops.launching.closing import TABLE_FILE, close_abandoned
from ser_mlops.launching.handover import Handover
from ser_mlops.launching.pool import RoundPool
from ser_mlops.launching.preflight import check_caches, check_cluster, reads_caches
from ser_mlops.launching.slurm_jobs import RoundJob, WorkerJob
from ser_mlops.launching.slurm_queue import Jobs
from ser_mlops.launching.sweep_job import conduct_sweep
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.recovery import experiment_in_use
from ser_mlops.tracking.store import end_run, find_run, note_of, open_store
from ser_mlops.training.stopping import raising_interrupted


class Workers(Protocol):
    """Processes that do what was handed over, here or elsewhere."""

    def step(self) -> int:
        """Wait a little; return how many of them have ended."""

    def cancel(self) -> None:
        """Ask all of them to stop, and wait until they have."""

    def end_of(self, key: str | None) -> tuple[str, str]:
        """Return status and reason of the end of a round whose process left its run open; given None, of a sweep."""


def check_launch(experiment: Experiment) -> bool:
    """Refuse, before anything is queued or recorded, what cannot work; return whether caches are to be filled first.

    Raises:
        SettingsError, TrackingError: settings that do not go together, or a cluster on which something is missing.
        TrainingError: the caches do not fit.
    """
    train, where = experiment.settings.train, experiment.settings.launch
    if where.launcher == "slurm":
        return _check_slurm(experiment, len(experiment.trainings) * train.rounds)
    if where.parallel != 1 and "WORLD_SIZE" in os.environ:
        raise SettingsError(f"parallel={where.parallel} does not go with torchrun, whose processes train one round together")
    _refuse_detaching(experiment.settings)
    return reads_caches(experiment)


def check_sweep_launch(sweep: Sweep) -> bool:
    """Refuse what cannot work of a sweep, and return whether caches are to be filled first; see `check_launch`."""
    settings = sweep.experiment.settings
    if settings.launch.parallel != 1:
        raise SettingsError(f"parallel={settings.launch.parallel} does not go with a sweep, set workers")
    if settings.launch.launcher == "slurm":
        if settings.slurm.nodes > 1 or settings.slurm.gpus > 1:
            asked = f"nodes={settings.slurm.nodes}, gpus={settings.slurm.gpus}"
            raise SettingsError(f"{asked}: a worker of a sweep trains on one GPU at most, set workers")
        return _check_slurm(sweep.experiment, sweep.settings.workers)
    _refuse_detaching(settings)
    return reads_caches(sweep.experiment)


def _check_slurm(experiment: Experiment, num_jobs: int) -> bool:
    where = experiment.settings.launch
    if where.parallel != 1:
        raise SettingsError(f"parallel={where.parallel} needs launcher=local; with launcher=slurm set at_once")
    check_cluster(experiment.settings, num_jobs)
    return reads_caches(experiment) and check_caches(experiment)


def _refuse_detaching(settings: Settings) -> None:
    if settings.launch.detach:
        raise SettingsError("detach=true needs launcher=slurm: the processes of launcher=local end with the command")


def launch(experiment: Experiment, fills: bool) -> None:
    """Run every training and round that is not finished yet, record them, and print the table of rounds.

    `fills` is what `check_launch` returned. With `detach`, return when the jobs are queued.
    """
    where, resume = experiment.settings.launch, experiment.settings.train.resume
    is_local = where.launcher == "local"
    with ExitStack() as stack:
        if is_local and resume is not None and os.environ.get("RANK", "0") == "0":  # under torchrun the first process alone records
            stack.enter_context(experiment_in_use(Path(experiment.settings.paths.checkpoints), resume))
        if is_local and where.parallel == 1:
            conduct(experiment)
            return
        stack.enter_context(raising_interrupted())
        handover, workers = _begin(experiment, fills)
        if where.detach and handover.runs:
            return
        if is_local and resume is None:
            stack.enter_context(experiment_in_use(handover.folder.parent, handover.parent))
        _watch(handover, workers, len(handover.runs), lambda num_ended: num_ended, len(handover.runs), experiment.name, "round")
    _report_end(handover, lambda: _read_table(handover))


def launch_sweep(sweep: Sweep, fills: bool) -> None:
    """Run a sweep here, or its workers as Slurm jobs, the first of which leads the others."""
    settings = sweep.experiment.settings
    if settings.launch.launcher == "local":
        conduct_sweep(sweep)
        return
    with raising_interrupted():
        handover, jobs, study = _begin_sweep(sweep, fills)
        if settings.launch.detach:
            return
        _watch(
            handover,
            jobs,
            len(jobs.keys),
            lambda _: len(study.trials()) - len(study.trials(*UNFINISHED)),
            sweep.settings.trials,
            f"sweep {sweep.experiment.name}",
            "trial",
        )
    _report_end(handover, lambda: read_end(handover.parent))


def _begin(experiment: Experiment, fills: bool) -> tuple[Handover, Workers]:
    """Open the parent run and its children, and hand over the rounds."""
    settings = experiment.settings
    checkpoints = Path(settings.paths.checkpoints)
    with open_notebook(
        name=experiment.name,
        tags=experiment.tags(),
        folder=checkpoints / OUTBOX,
        resume=settings.train.resume,
        stays_open=True,
        is_detached=settings.launch.detach,
    ) as notebook:
        parent = notebook.parent
        if not notebook.is_resumed:
            describe_experiment(parent, settings, experiment.versions)
        runs = notebook.schedule_unfinished(plan_runs(experiment))
        handover = Handover((checkpoints / parent.run_id).resolve(), settings, parent.run_id, runs)
        handover.save()
        try:
            if settings.launch.launcher == "local" or not runs:
                return handover, RoundPool(handover, settings.launch.parallel, fills)
            call = RoundJob(handover.folder, max(1, settings.slurm.gpus), settings.slurm.nodes)
            jobs = slurm.submit(handover.folder, call, list(runs), settings.slurm, fills=fills, closes=settings.launch.detach)
        except BaseException as error:
            for run_id in runs.values():
                end_run(notebook.client, run_id, "KILLED", f"Never started: {error}")
            raise
        parent.tags(jobs.tags(experiment.name))
        for key, run_id in runs.items():
            notebook.client.set_tag(run_id, "job", jobs.ids[key])
    print(f"{jobs.summary}\nopen in the MLflow UI: {notebook.link}", flush=True)
    return handover, jobs


def _begin_sweep(sweep: Sweep, fills: bool) -> tuple[Handover, Jobs, Study]:
    """Open the parent run, which the leading worker resumes, and queue the workers."""
    settings = sweep.experiment.settings
    study = sweep.study()
    with open_notebook(
        name=f"sweep {sweep.experiment.name}",
        tags=sweep.tags(),
        folder=sweep.checkpoints / OUTBOX,
        resume=study.shared("parent"),
        stays_open=True,
        is_detached=settings.launch.detach,
    ) as notebook:
        parent = notebook.parent
        if not notebook.is_resumed:
            describe_sweep(parent, sweep)
        study.share(parent=parent.run_id)
        handover = Handover((sweep.checkpoints / f"{parent.run_id}-jobs").resolve(), settings, parent.run_id, {})
        handover.save()
        keys = [f"worker {number}" for number in range(sweep.settings.workers)]
        jobs = slurm.submit(handover.folder, WorkerJob(handover.folder), keys, settings.slurm, fills=fills, closes=settings.launch.detach)
        parent.tags(jobs.tags(f"sweep {sweep.experiment.name}"))
    print(f"{jobs.summary}\nopen in the MLflow UI: {notebook.link}", flush=True)
    return handover, jobs, study


def _watch(handover: Handover, workers: Workers, num_workers: int, count: Callable[[int], int], total: int, name: str, unit: str) -> None:
    """Show progress until all workers have ended, then close what they left open; an interruption stops them first.

    `count` returns how many units are done, given how many workers have ended.
    """
    try:
        with tqdm(total=total, desc=name, unit=unit, disable=None) as bar:
            num_ended, num_done = 0, 0
            while num_ended < num_workers:
                num_ended = workers.step()
                num_before, num_done = num_done, count(num_ended)
                bar.update(num_done - num_before)
    except Interrupted:
        workers.cancel()
        raise
    finally:
        close_abandoned(handover, workers.end_of)


def _read_table(handover: Handover) -> str:
    table = handover.folder / TABLE_FILE
    if not table.is_file():  # the process that closed the experiment could not register its best round, and has said why
        raise TrackingError(
            f"all rounds of run {handover.parent} are finished, but no {table} was written: resume={handover.parent} tries again"
        )
    return table.read_text(encoding="utf-8")


def _report_end(handover: Handover, read: Callable[[], str]) -> None:
    """Print how the experiment ended, whoever closed it."""
    parent = find_run(open_store(), handover.parent)
    if parent.info.status == "FINISHED":
        print(read(), end="")
    elif parent.info.status == "FAILED":
        raise TrainingError(note_of(parent).removeprefix("Failed: "))
    else:
        raise Interrupted(note_of(parent))
