"""Brings into the tracking store what waits on disk for it, and closes the experiments whose jobs have left."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ser_mlops.data.progress import progress
from ser_mlops.experiments.sweep_recording import read_end
from ser_mlops.launching.closing import close_abandoned, read_table
from ser_mlops.launching.handover import HANDOVER, Handover
from ser_mlops.launching.slurm_queue import Jobs, queued_for
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.outbox import OUTBOX, RECORDS
from ser_mlops.tracking.recovery import RELAYED, outboxes_of, recover_outboxes
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import OPEN_STATUSES, MlflowClient, Run, find_run, open_store, tracking_uri, using_store
from ser_mlops.training.stopping import raising_interrupted


def conduct_sync(checkpoints: Path) -> None:
    """Send all that waits for the store in use, and say of every experiment how far it is.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = open_store()
    outboxes = outboxes_of(checkpoints / OUTBOX)
    experiments = [path.parent for path in sorted(checkpoints.glob(f"*/{HANDOVER}")) if outboxes_of(path.parent / RELAYED).is_dir()]
    if not experiments and not [*outboxes.glob(f"*/{RECORDS}")]:
        print(f"nothing to sync: no records in {checkpoints} wait for the tracking store {tracking_uri()}")
        return
    with raising_interrupted():
        with using_store():
            recover_outboxes(client, Sender(client), outboxes, None)
        with progress(len(experiments), "sync", "experiment") as bar:
            for folder in experiments:
                print(_sync(client, Handover.read(folder.resolve())), flush=True)
                bar.update()


def _sync(client: MlflowClient, handover: Handover) -> str:
    """Close an experiment whose records were brought, once no job works for it any more; return what is to be said of it."""
    put_opened_run_aside(handover.parent, "sync call")
    runs = [find_run(client, run_id) for run_id in handover.runs.values()]
    num_open = sum(run.info.status in OPEN_STATUSES for run in runs)
    what = "trials and rounds" if handover.is_sweep else "rounds"
    so_far = f"run {handover.parent}: {len(runs) - num_open} of {len(runs)} {what} have ended"
    if (outboxes_of(handover.outboxes) / handover.parent / RECORDS).exists():
        return f"{so_far}; another command works for it"
    parent = find_run(client, handover.parent)
    if shutil.which("squeue") is None:
        if num_open:
            return f"{so_far}; whether jobs still work for it is known where Slurm is: sync there"
        waiting: dict[str, str] = {}
    else:
        waiting = queued_for(handover.folder)
    jobs = _jobs_of(handover, parent, runs, waiting)
    if jobs is not None:
        _tag(client, parent, jobs)
    if waiting:
        return f"{so_far}; in the queue: {', '.join(sorted(waiting))}"
    close_abandoned(handover, _never_queued if jobs is None else jobs.end_of)
    parent = find_run(client, handover.parent)
    if parent.info.status != "FINISHED":
        again = "the same command resumes it" if handover.is_sweep else f"resume={handover.parent} runs what is not finished"
        num_finished = sum(find_run(client, run_id).info.status == "FINISHED" for run_id in handover.runs.values())
        finished = f"{num_finished} of {len(runs)} {what} finished"  # counted again: closing has ended those whose jobs are gone
        return f"run {handover.parent}: {finished}; the experiment is {parent.info.status}: {again}"
    return f"{so_far}\n{read_end(handover.parent) if handover.is_sweep else read_table(handover)}"


def _jobs_of(handover: Handover, parent: Run, runs: Iterable[Run], waiting: dict[str, str]) -> Jobs | None:
    """Return the jobs of an experiment; what the command that queued them could not say is known from the queue and from themselves."""
    array, caches, *_ = [*parent.data.tags.get("job", "").split(), None, None]
    if array is None:
        started = [run.data.tags["job"] for run in runs if "job" in run.data.tags]
        named = [*(job for job, part in waiting.items() if part == "array"), *started]
        array = named[0].partition("_")[0] if named else None
        caches = next((job for job, part in waiting.items() if part == "caches"), None)
    return None if array is None else Jobs(handover.folder, array, caches, handover.job_keys)


def _tag(client: MlflowClient, parent: Run, jobs: Jobs) -> None:
    """Say on the parent which jobs are its own, where the command died that had queued them."""
    if not parent.data.tags.get("job"):
        for key, value in jobs.tags.items():
            client.set_tag(parent.info.run_id, key, value)


def _never_queued(_key: str | None) -> tuple[str, str]:
    return "KILLED", "Never started: the command died that was to queue its jobs"
