"""Rounds written where the tracking store is out of reach, and the command that brings their records into it.

A job of a cluster must not open a database that is a file on another machine's disk. It writes the records of its round into an outbox
on shared storage, `checkpoints/PARENT/records/STORE/RUN`, and never sends one. Whatever command has the store at hand sends them, while
the job still writes or later. The outbox is kept until the experiment is closed: a job that is started again reads there what it logged.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from ser_mlops.files import remove, write_text
from ser_mlops.tracking.notebook import writing
from ser_mlops.tracking.outbox import RECORDS, SENT, Outbox, Pace, Record, Unreachable
from ser_mlops.tracking.recovery import RELAYED, outboxes_of, resume_hint
from ser_mlops.tracking.runlog import SYSTEM, RunLog, Stored, read_stored
from ser_mlops.tracking.sampler import Sampler
from ser_mlops.tracking.store import find_run, tracking_uri, using_store

HELD = "held.json"
"""In the outbox of a round: what the store held of its run when the round was handed over."""


def is_embedded() -> bool:
    """Whether the tracking store is a file, which only the machine that it lies on may open."""
    return tracking_uri().startswith("sqlite")


def hand_over_runs(client: MlflowClient, experiment: Path, run_ids: Sequence[str]) -> None:
    """Make the outboxes that jobs will write; the store has what earlier jobs wrote."""
    for run_id in run_ids:
        folder = _outbox_of(experiment, run_id)
        for name in (RECORDS, SENT):
            remove(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        with using_store():
            held = read_stored(client, find_run(client, run_id))
        content = {"points": sorted(held.points), "params": sorted(held.params), "num_samples": held.num_samples}
        write_text(folder / HELD, json.dumps(content) + "\n")
        (folder / RECORDS).touch()  # now, so that no machine remembers it as missing


@contextmanager
def write_run(experiment: Path, parent_id: str, run_id: str) -> Iterator[RunLog | None]:
    """Run a block as one round, as `ChildWriter.child` does, without a store; None where the round is finished already."""
    sampler, folder = Sampler(), _outbox_of(experiment, run_id)
    outbox = Outbox(folder, _keep, Pace(patience_s=0), sampler.sample_if_due, is_kept=True)
    try:
        status, stored = _read(folder)
        if status == "FINISHED":
            yield None
        else:
            with writing(RunLog(run_id, status, outbox, stored), resume_hint(parent_id, {}), sampler) as run:
                yield run
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
