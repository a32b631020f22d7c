"""Runs a sweep where the settings say: on this machine, or its workers as Slurm jobs."""

from dataclasses import replace
from pathlib import Path

from ser_mlops.errors import SettingsError
from ser_mlops.experiments.study import Study
from ser_mlops.experiments.sweep import Sweep
from ser_mlops.experiments.sweep_recording import describe_sweep, read_end
from ser_mlops.launching import slurm_submit as slurm
from ser_mlops.launching.handover import Handover
from ser_mlops.launching.preflight import check_slurm, reads_caches, refuse_detaching, refuse_queued
from ser_mlops.launching.slurm_jobs import WorkerJob
from ser_mlops.launching.slurm_queue import Jobs
from ser_mlops.launching.sweep_job import conduct_sweep
from ser_mlops.launching.sweep_worker import schedule_runs
from ser_mlops.launching.watching import report_end, watch
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.relay import hand_over_runs
from ser_mlops.training.stopping import raising_interrupted


def check_sweep_launch(sweep: Sweep) -> bool:
    """Refuse what cannot work of a sweep, and return whether caches are to be filled first; see `dispatch.check_launch`."""
    settings = sweep.experiment.settings
    if settings.launch.parallel != 1:
        raise SettingsError(f"parallel={settings.launch.parallel} does not go with a sweep, set workers")
    if settings.launch.launcher == "slurm":
        if settings.slurm.nodes > 1 or settings.slurm.gpus > 1:
            asked = f"nodes={settings.slurm.nodes}, gpus={settings.slurm.gpus}"
            raise SettingsError(f"{asked}: a worker of a sweep trains on one GPU at most, set workers")
        if parent := sweep.study().workers.shared("parent"):
            refuse_queued(jobs_folder(sweep, parent))
        return check_slurm(sweep.experiment, sweep.settings.workers)
    refuse_detaching(settings)
    return reads_caches(sweep.experiment)


def jobs_folder(sweep: Sweep, parent_id: str) -> Path:
    """Return the folder of what is handed over to the jobs of a sweep; the states of its trials are in another, which its end removes."""
    return (sweep.checkpoints / f"{parent_id}-jobs").resolve()


def launch_sweep(sweep: Sweep, fills: bool) -> None:
    """Run a sweep here, or its workers as Slurm jobs, the first of which leads the others."""
    settings = sweep.experiment.settings
    if settings.launch.launcher == "local":
        conduct_sweep(sweep)
        return
    with raising_interrupted():
        handover, jobs, study = _begin_sweep(sweep, fills)
        if settings.launch.detach:
            print(handover.detached_note, end="")
            return
        watch(
            handover,
            jobs,
            len(jobs.keys),
            lambda _: study.num_done(),
            sweep.settings.trials,
            f"sweep {sweep.experiment.name}",
            "trial",
        )
    report_end(handover, lambda: read_end(handover.parent))


def _begin_sweep(sweep: Sweep, fills: bool) -> tuple[Handover, Jobs, Study]:
    """Open the parent run, which the leading worker resumes, and queue the workers."""
    settings = sweep.experiment.settings
    study = sweep.study()
    with open_notebook(
        name=sweep.run_name,
        tags=sweep.tags_of_parent(),
        folder=sweep.checkpoints / OUTBOX,
        resume=study.workers.shared("parent"),
        stays_open=True,
        is_detached=settings.launch.detach,
    ) as notebook:
        parent = notebook.parent
        if notebook.is_resumed:
            parent.tags({"job": ""})  # those of before are gone
        else:
            describe_sweep(parent, sweep)
        study.workers.share(parent=parent.run_id)
        handover = Handover(jobs_folder(sweep, parent.run_id), settings, parent.run_id, {}, is_sweep=True)
        if handover.is_relayed:
            handover = replace(handover, runs=schedule_runs(sweep, study, notebook))
        handover.save(sweep.experiment)
        if handover.is_relayed:
            hand_over_runs(notebook.client, handover.folder, [*handover.runs.values()])
        call, closes = WorkerJob(handover.folder), settings.launch.detach and not handover.is_relayed
        jobs = slurm.submit(handover.folder, call, handover.job_keys, settings.slurm, fills=fills, closes=closes)
        parent.tags(jobs.tags)
    print(f"{jobs.summary}\nopen in the MLflow UI: {notebook.link}", flush=True)
    return handover, jobs, study
