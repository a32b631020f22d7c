"""Runs the rounds of an experiment where the settings say: in this process, in several processes, or as Slurm jobs."""

import os
from contextlib import ExitStack
from pathlib import Path

from ser_mlops.errors import SettingsError
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.recording import describe_experiment
from ser_mlops.experiments.resuming import restore_threads
from ser_mlops.experiments.rounds import conduct, naming_resume, plan_runs
from ser_mlops.launching import slurm_submit as slurm
from ser_mlops.launching.closing import read_table
from ser_mlops.launching.handover import Handover
from ser_mlops.launching.pool import RoundPool
from ser_mlops.launching.preflight import check_slurm, reads_caches, refuse_detaching, refuse_queued
from ser_mlops.launching.slurm_jobs import RoundJob
from ser_mlops.launching.watching import Workers, report_end, watch
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.recovery import experiment_in_use
from ser_mlops.tracking.relay import hand_over_runs
from ser_mlops.tracking.store import end_run
from ser_mlops.training.stopping import raising_interrupted


def check_launch(experiment: Experiment) -> bool:
    """Refuse, before anything is queued or recorded, what cannot work; return whether caches are to be filled first.

    Raises:
        SettingsError, TrackingError: settings that do not go together, or a cluster on which something is missing.
        TrainingError: the caches do not fit.
    """
    train, where = experiment.settings.train, experiment.settings.launch
    if where.launcher == "slurm":
        return check_slurm(experiment, len(experiment.trainings) * train.rounds)
    if where.parallel != 1 and "WORLD_SIZE" in os.environ:
        raise SettingsError(f"parallel={where.parallel} does not go with torchrun, whose processes train one round together")
    refuse_detaching(experiment.settings)
    if train.resume:
        refuse_queued(Path(experiment.settings.paths.checkpoints) / train.resume)
    return reads_caches(experiment)


def launch(experiment: Experiment, fills: bool) -> None:
    """Run every training and round that is not finished yet, record them, and print the table of rounds.

    `fills` is what `check_launch` returned. With `detach`, return when the jobs are queued.
    """
    where, resume = experiment.settings.launch, experiment.settings.train.resume
    is_local = where.launcher == "local"
    if is_local and resume is not None:
        restore_threads(resume)
    with ExitStack() as stack:
        if is_local and resume is not None and os.environ.get("RANK", "0") == "0":  # under torchrun the first process alone records
            stack.enter_context(experiment_in_use(Path(experiment.settings.paths.checkpoints), resume))
        if is_local and where.parallel == 1:
            conduct(experiment)
            return
        stack.enter_context(raising_interrupted())
        handover, workers = _begin(experiment, fills)
        if where.detach and handover.runs:
            print(handover.detached_note, end="")
            return
        if is_local and resume is None:
            stack.enter_context(experiment_in_use(handover.folder.parent, handover.parent))
        if is_local:
            stack.enter_context(naming_resume(handover.parent))
        watch(handover, workers, len(handover.runs), lambda num_ended: num_ended, len(handover.runs), experiment.name, "round")
    report_end(handover, lambda: read_table(handover))


def _begin(experiment: Experiment, fills: bool) -> tuple[Handover, Workers]:
    """Open the parent run and its children, and hand over the rounds."""
    settings = experiment.settings
    checkpoints = Path(settings.paths.checkpoints)
    with open_notebook(
        name=experiment.run_name,
        tags=experiment.tags_of_parent(),
        folder=checkpoints / OUTBOX,
        resume=settings.train.resume,
        stays_open=True,
        is_detached=settings.launch.detach,
    ) as notebook:
        parent = notebook.parent
        if notebook.is_resumed:
            parent.tags({"job": ""})  # those of before are gone
        else:
            describe_experiment(parent, settings, experiment.versions)
        runs = notebook.schedule_unfinished(plan_runs(experiment))
        notebook.show_curves()
        handover = Handover((checkpoints / parent.run_id).resolve(), settings, parent.run_id, runs)
        handover.save(experiment)
        try:
            if settings.launch.launcher == "local" or not runs:
                print(f"watch in the MLflow UI: {notebook.link}", flush=True)
                return handover, RoundPool(handover, settings.launch.parallel, fills)
            if handover.is_relayed:
                hand_over_runs(notebook.client, handover.folder, list(runs.values()))
            call = RoundJob(handover.folder, max(1, settings.slurm.gpus), settings.slurm.nodes)
            closes = settings.launch.detach and not handover.is_relayed
            jobs = slurm.submit(handover.folder, call, list(runs), settings.slurm, fills=fills, closes=closes)
        except BaseException as error:
            for run_id in runs.values():
                end_run(notebook.client, run_id, "KILLED", f"Never started: {error}")
            raise
        parent.tags(jobs.tags)
        for key, run_id in runs.items():
            notebook.client.set_tag(run_id, "job", jobs.ids[key])
    print(f"{jobs.summary}\nopen in the MLflow UI: {notebook.link}", flush=True)
    return handover, jobs
