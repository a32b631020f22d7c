"""Brings into the tracking store what waits on disk for it, and closes the experiments whose jobs have left."""

import shutil
from pathlib import Path

from ser_mlops.data.progress import progress
from ser_mlops.launching.closing import close_abandoned, read_table
from ser_mlops.launching.handover import FILE, Handover
from ser_mlops.launching.slurm_queue import Jobs, queued
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.outbox import OUTBOX, RECORDS
from ser_mlops.tracking.recovery import RELAYED, bring, outboxes_of, recover_outboxes
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import OPEN_STATUSES, find_run, open_store, tracking_uri, using_store
from ser_mlops.training.stopping import raising_interrupted


def conduct_sync(checkpoints: Path) -> None:
    """Send all that waits for the store in use, and say of every experiment how far it is.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = open_store()
    outboxes = outboxes_of(checkpoints / OUTBOX)
    experiments = [path.parent for path in sorted(checkpoints.glob(f"*/{FILE}")) if outboxes_of(path.parent / RELAYED).is_dir()]
    if not experiments and not [*outboxes.glob(f"*/{RECORDS}")]:
        print(f"nothing to sync: no records in {checkpoints} wait for the tracking store {tracking_uri()}")
        return
    with raising_interrupted():
        with using_store():
            recover_outboxes(client, Sender(client), outboxes, None)
        with progress(len(experiments), "sync", "experiment") as bar:
            for folder in experiments:
                print(_sync(Handover.read(folder.resolve())), flush=True)
                bar.update()


def _sync(handover: Handover) -> str:
    """Bring an experiment's records, and close it once no job works for it any more; return what is to be said of it."""
    client = open_store()
    put_opened_run_aside(handover.parent, "sync call")
    bring(Sender(client), handover.folder.parent, handover.parent)
    runs = {key: find_run(client, run_id) for key, run_id in handover.runs.items()}
    open_keys = [key for key, run in runs.items() if run.info.status in OPEN_STATUSES]
    so_far = f"run {handover.parent}: {len(runs) - len(open_keys)} of {len(runs)} rounds have ended"
    tagged = find_run(client, handover.parent).data.tags.get("job", "").split()
    if open_keys:
        if not tagged or shutil.which("squeue") is None:
            return f"{so_far}; whether jobs still work for it is known where Slurm is: sync there"
        if left := queued(tagged):
            return f"{so_far}; in the queue: {', '.join(sorted(left))}"
    array, caches, *_ = [*tagged, None, None]
    close_abandoned(handover, Jobs(handover.folder, array or "", caches, [*handover.runs]).end_of)
    parent = find_run(client, handover.parent)
    if parent.info.status != "FINISHED":
        return f"{so_far}; the experiment is {parent.info.status}: resume={handover.parent} runs what is not finished"
    return f"{so_far}\n{read_table(handover)}"
