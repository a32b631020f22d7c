"""What a process leaves behind when it dies: records that were not sent, and runs that still claim to be running.

The next start sends the records and closes the runs. A process that is alive holds the lock of its outbox, or that of its experiment.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ser_mlops.errors import TrackingError
from ser_mlops.tracking.names import STUDY_TAG
from ser_mlops.tracking.outbox import RECORDS, Unreachable, drain, send
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import OPEN_STATUSES, children_of, end_run, is_outage, one_line, open_store, tracking_uri, using_store

WRITER = "."
"""Between the id of a parent and the name of a process, in the name of the outbox of a process that writes children of that parent."""
IN_USE = "in_use.lock"
"""In the folder of an experiment's states: held by the command whose processes write its children. A kill leaves the file, not the lock."""
RELAYED = "records"
"""In the folder of an experiment (of a sweep: PARENT-jobs): outboxes of jobs that reach no store; see `relay`."""


@contextmanager
def experiment_in_use(checkpoints: Path, run_id: str) -> Iterator[None]:
    """Hold an experiment whose rounds are written by processes of this machine, so that no other command resumes it meanwhile.

    Raises:
        TrackingError: another command holds it.
    """
    path = checkpoints / run_id / IN_USE
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrackingError(f"run {run_id} is in use by another command: wait for it to end, or stop it") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # it holds states, or is gone
            path.parent.rmdir()


def has_died(path: Path) -> bool:
    """Whether the command that held a lock of `experiment_in_use` is gone without having released it."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return True
    except Timeout:
        return False


def outboxes_of(folder: Path) -> Path:
    """Return the folder for the outboxes of the store in use, so that no record is sent to another store."""
    return folder.resolve() / hashlib.sha256(tracking_uri().encode()).hexdigest()[:12]


def recover(client: MlflowClient, folder: Path, resuming: str) -> None:
    """Send what earlier processes left in the outboxes of a folder, so that all that they logged of the run `resuming` can be read."""
    with using_store():
        recover_outboxes(client, Sender(client), outboxes_of(folder), resuming)


def recover_outboxes(client: MlflowClient, sender: Sender, outboxes: Path, resuming: str | None) -> None:
    """Send what earlier processes left, and mark the runs KILLED that died with their process; the run `resuming` stays open."""

    checkpoints = outboxes.parent.parent

    def close(outbox: Path) -> None:
        run_id, is_writer, _ = outbox.name.partition(WRITER)
        if run_id != resuming and not _relayed_of(checkpoints, run_id) and (not is_writer or has_died(checkpoints / run_id / IN_USE)):
            _close_abandoned(client, run_id)

    bring(sender, checkpoints)
    drained = drain(outboxes, sender.deliver, close)
    for refusal in drained.refusals:
        print(f"records of an earlier process: {refusal}")
    for waiting in drained.waiting:
        print(f"{waiting.name}: the tracking server is still unreachable; unsent records are kept in {waiting}")
        if waiting.name.partition(WRITER)[0] == resuming:
            raise TrackingError(f"run {resuming} cannot be resumed yet: records of it still wait for the tracking server")


def bring_all(checkpoints: Path) -> None:
    """Send what jobs without a store have written; where the store cannot be used at the moment, say so."""
    if not _relayed_of(checkpoints, ""):
        return
    try:
        client = open_store()
        with using_store():
            bring(Sender(client), checkpoints)
    except TrackingError as error:
        print(f"note: what jobs wrote is not in the tracking store yet: {error}")


def bring(sender: Sender, checkpoints: Path, parent_id: str = "") -> None:
    """Send what jobs without a store have written since the last time, of one experiment or of all.

    Raises:
        TrackingError: the store cannot be written to at the moment; the records are kept.
    """
    for folder in _relayed_of(checkpoints, parent_id):
        with sending(folder.parent.parent):
            for records in sorted(folder.glob(f"*/{RECORDS}")):
                bring_outbox(sender, records.parent)


def bring_outbox(sender: Sender, outbox: Path) -> None:
    """Send what a job has written into an outbox since the last time; the caller holds the lock `sending` of the experiment."""
    try:
        send(outbox, sender.deliver)
    except TrackingError as refusal:
        print(f"records of a job: {refusal}")
    except Unreachable as error:
        raise TrackingError(f"records of jobs are kept in {outbox}, as the tracking store cannot be written to: {error}") from error


def sending(experiment: Path) -> FileLock:
    """Return the lock of whoever sends what the jobs of an experiment have written, given its folder."""
    return FileLock(experiment / "sending.lock")


def _relayed_of(checkpoints: Path, parent_id: str) -> list[Path]:
    """Return the folders of outboxes that jobs without a store write for the store in use: one for each experiment that is not closed."""
    found = (outboxes_of(folder) for folder in sorted(checkpoints.glob(f"{parent_id}*/{RELAYED}")))
    return [folder for folder in found if folder.is_dir()]


def _close_abandoned(client: MlflowClient, run_id: str) -> None:
    """Mark a run and its children KILLED, where they claim to be open."""
    try:
        owner = client.get_run(run_id)
        runs = [owner, *children_of(client, owner)] if owner.info.lifecycle_stage == "active" else []
        for run in runs:
            if run.info.status in OPEN_STATUSES:
                end_run(client, run.info.run_id, "KILLED", f"The process died without reporting. {resume_hint(run_id, owner.data.tags)}")
    except MlflowException as error:
        if is_outage(error):
            raise Unreachable(str(error)) from error
        print(f"run {run_id} of an earlier process no longer exists: {one_line(error, 200)}")


def resume_hint(parent_id: str, tags: Mapping[str, object]) -> str:
    """Say how an interrupted command is resumed."""
    return "To resume, give the same command again." if STUDY_TAG in tags else f"To resume: `mlflow run . -P resume={parent_id}`."
