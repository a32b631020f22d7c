"""Runs written where the tracking store is out of reach, and the command that brings their records into it.

A job of a cluster must not open a database that is a file on another machine's disk. It writes the records of its runs into outboxes
on shared storage, `checkpoints/PARENT/records/STORE/RUN`, and never sends one. Whatever command has the store at hand sends them, while
the job still writes or later. The outboxes are kept until the experiment is closed: a job that is started again reads there what it
logged, and one that starts after the end finds none and ends, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow import MlflowClient

from ser_mlops.errors import TrackingError
from ser_mlops.files import remove, write_text
from ser_mlops.tracking.notebook import writing
from ser_mlops.tracking.outbox import RECORDS, REFUSED, Outbox, Pace, Record, Unreachable
from ser_mlops.tracking.recovery import RELAYED, bring_outbox, outboxes_of, resume_hint, sending
from ser_mlops.tracking.runlog import SYSTEM, RunLog, Stored, read_stored
from ser_mlops.tracking.sampler import Sampler
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import end_run, find_run, tracking_uri, using_store

HELD = "held.json"
"""In the outbox of a run: what the store held of it when it was handed over."""
LOCK_PATIENCE_S = 10.0
"""How long a job that Slurm says is gone may still hold its outbox."""


def is_embedded() -> bool:
    """Whether the tracking store is a file, which only the machine that it lies on may open."""
    return tracking_uri().startswith("sqlite")


def hand_over_runs(client: MlflowClient, experiment: Path, run_ids: Sequence[str]) -> None:
    """Make the outboxes that jobs will write, in the folder of an experiment; the store gets what earlier jobs wrote, and keeps it."""
    take_back_runs(client, experiment)
    for run_id in run_ids:
        folder = _outbox_of(experiment, run_id)
        folder.mkdir(parents=True, exist_ok=True)
        with using_store():
            held = read_stored(client, find_run(client, run_id))
        content = {"points": sorted(held.points), "params": sorted(held.params), "num_samples": held.num_samples}
        write_text(folder / HELD, json.dumps(content) + "\n")
        (folder / RECORDS).touch()  # now, so that no machine remembers it as missing


def take_back_runs(client: MlflowClient, experiment: Path) -> None:
    """Send the rest of what jobs wrote that are gone, and remove their outboxes.

    Raises:
        TrackingError: one of them is still being written, or the store cannot be written to.
    """
    sender = Sender(client)
    with sending(experiment):
        for outbox in sorted(outboxes_of(experiment / RELAYED).glob(f"*/{HELD}")):
            try:
                with FileLock(outbox.parent / "lock", timeout=LOCK_PATIENCE_S):
                    bring_outbox(sender, outbox.parent)
                    if (outbox.parent / REFUSED).exists():
                        _keep_refused(client, outbox.parent, experiment)
                    remove(outbox.parent)
            except Timeout:
                raise TrackingError(f"run {outbox.parent.name} is still being written by a job: wait for it to end") from None


def _keep_refused(client: MlflowClient, outbox: Path, experiment: Path) -> None:
    """Keep the records of a run that the store refused, and let the run say that something of it is missing."""
    run_id, kept = outbox.name, experiment / f"{outbox.name}.{REFUSED}"
    (outbox / REFUSED).rename(kept)
    if find_run(client, run_id).info.status == "FINISHED":
        end_run(client, run_id, "FAILED", f"Failed: the tracking store refused records, which are kept in {kept}")


@dataclass(frozen=True)
class RelayedWriter:
    """Writes runs of an experiment that were handed over, as `ChildWriter` does where a store is in reach; `tags` are the parent's."""

    experiment: Path
    """Its folder."""
    parent_id: str
    tags: Mapping[str, object]

    @contextmanager
    def child(self, run_id: str, *, is_new: bool) -> Iterator[RunLog]:
        """Run a block as one run; what was logged before is not logged again.

        Raises:
            TrackingError: the run was taken back, or another process writes it.
        """
        with self._opened(run_id) as (run, sampler), writing(run, self._hint, sampler):
            yield run

    @contextmanager
    def unfinished_child(self, run_id: str) -> Iterator[RunLog | None]:
        """Run a block as one run, as `child` does; None where the run is finished already."""
        with self._opened(run_id) as (run, sampler):
            if run.status == "FINISHED":
                yield None
            else:
                with writing(run, self._hint, sampler):
                    yield run

    @property
    def _hint(self) -> str:
        return resume_hint(self.parent_id, self.tags)

    @contextmanager
    def _opened(self, run_id: str) -> Iterator[tuple[RunLog, Sampler]]:
        sampler, folder = Sampler(), _outbox_of(self.experiment, run_id)
        if not (folder / HELD).is_file():
            raise TrackingError(f"run {run_id} was closed before this job began: {self._hint}")
        outbox = Outbox(folder, _keep, Pace(patience_s=0), sampler.sample_if_due, is_kept=True)
        try:
            status, stored = _read(folder)
            yield RunLog(run_id, status, outbox, stored), sampler
        finally:
            outbox.close()


def _keep(_records: Sequence[Record]) -> None:
    raise Unreachable("another command sends them")


def _outbox_of(experiment: Path, run_id: str) -> Path:
    return outboxes_of(experiment / RELAYED) / run_id


def _read(outbox: Path) -> tuple[str, Stored]:
    """Return the status of a run and what is logged of it, from what the store held and what was written since."""
    held = json.loads((outbox / HELD).read_text(encoding="utf-8"))
    status, samples = "SCHEDULED", held["num_samples"]
    points, params = {(key, step) for key, step in held["points"]}, set(held["params"])
    for line in (outbox / RECORDS).read_bytes().splitlines():
        record: Mapping[str, object] = json.loads(line)
        items = record.get("items")
        if record["op"] == "status":
            status = str(record["status"])
        elif record["op"] == "params":
            assert isinstance(items, dict)
            params.update(items)
        elif record["op"] == "metrics":
            assert isinstance(items, list)
            points.update((key, step) for key, _, _, step in items if not key.startswith(SYSTEM))
            samples = max([samples, *(step + 1 for key, _, _, step in items if key.startswith(SYSTEM))])
    return status, Stored(frozenset(points), frozenset(params), samples)
