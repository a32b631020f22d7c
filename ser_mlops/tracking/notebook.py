"""The laboratory's notebook: one command is one parent run in MLflow, one training is one child run.

Everything that is logged goes through an outbox on disk, so that a tracking server that is away neither stops nor slows a training and
every record arrives exactly once: MLflow keeps one row per (metric, timestamp, step, value), and records carry their own timestamps.
Child runs are opened together with their parent, as SCHEDULED, so that nothing needs an answer from the server in mid-training. What a
process leaves behind that dies without a word, records and runs that still claim to be running, the next start puts right.
"""

import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

# A server that is down answers within seconds instead of minutes; set before mlflow reads them.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import requests
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from ser_mlops.errors import Interrupted, Postponed, SerError, TrackingError
from ser_mlops.files import DISK_FULL, remove
from ser_mlops.tracking.outbox import Outbox, Record, Unreachable, drain
from ser_mlops.tracking.views import experiment_tags, link_to_run

logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # no GPU is no news

EXPERIMENT = "ser"
KEY_TAG = "training"
"""Tag that tells the child runs of one parent apart: "CREMA fold 0 round 1"."""
STUDY_TAG = "study"
"""Tag of a sweep's runs: the name of its study, with which it goes on."""
RETRIED_CODES = frozenset(map(ErrorCode.Name, (DEADLINE_EXCEEDED, INTERNAL_ERROR, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE)))
RETRIED_HTTP_CODES = frozenset({408, 429})
"""Besides every code from 500."""
MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000
SAMPLING_INTERVAL_S = 10.0
SYSTEM = "system/"
ARTIFACTS = "artifacts"
PREDICTIONS_FOLDER = "predictions"
"""Folder of a run's artifacts that holds its prediction tables."""
WRITER = "."
"""Between the id of a parent and the name of a process, in the name of the outbox of one that writes children of it."""
ATTENDED = "attended.lock"
"""In the folder of an experiment's states: held by the command whose processes write its children. A kill leaves the file, not the lock."""
OPEN = ("SCHEDULED", "RUNNING")


def open_store() -> MlflowClient:
    """Return a client of the tracking store in use, created if it is a fresh database, with the experiment and its views in it.

    Several processes that start on a fresh database at once would crash creating its tables, so they take turns.
    """
    uri = mlflow.get_tracking_uri()
    with FileLock(".mlflow.lock"), _reachable(uri):
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT) or client.get_experiment(client.create_experiment(EXPERIMENT))
        for key, value in experiment_tags(experiment.experiment_id).items():
            if key not in experiment.tags:  # somebody may have changed a view to their liking
                client.set_experiment_tag(experiment.experiment_id, key, value)
    return client


def tracking_uri() -> str:
    """Return the URI of the tracking store in use."""
    return mlflow.get_tracking_uri()


@contextmanager
def _reachable(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"tracking store {uri} cannot be used: {' '.join(str(error).split())[:300]}") from error


@dataclass(frozen=True)
class Planned:
    """A child run to be opened: its key, unique within the parent, its name and its tags."""

    key: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """What the store had of a run when it was opened again."""

    points: frozenset[tuple[str, int]] = frozenset()
    """Metrics and steps, but for those of the machine."""
    params: frozenset[str] = frozenset()
    num_samples: int = 0
    """Steps of the metrics of the machine."""


@dataclass
class RunLog:
    """What is written of one run; every call only appends to the outbox."""

    run_id: str
    status: str
    _append: Callable[[Record], None]
    _staging: Path
    stored: Stored = field(default_factory=Stored)

    def metrics(self, values: Mapping[str, float], step: int = 0, timestamp: int | None = None) -> None:
        """Log metrics at a step, `timestamp` in ms since 1970. What the store had of this step when the run was opened stays as it is."""
        now = timestamp or _now_ms()
        items = [[key, float(value), now, step] for key, value in values.items() if (key, step) not in self.stored.points]
        if items:
            self._append({"run": self.run_id, "op": "metrics", "items": items})

    def params(self, values: Mapping[str, object]) -> None:
        """Log params, cut at the length that MLflow accepts. Those that the run had when it was opened stay as they are."""
        items = {key: str(value)[:MAX_PARAM_CHARACTERS] for key, value in values.items() if key not in self.stored.params}
        if items:
            self._append({"run": self.run_id, "op": "params", "items": items})

    def tags(self, values: Mapping[str, object]) -> None:
        """Log tags, cut at the length that MLflow accepts; a tag that is there is replaced."""
        items = {key: str(value)[:MAX_TAG_CHARACTERS] for key, value in values.items()}
        self._append({"run": self.run_id, "op": "tags", "items": items})

    def describe(self, markdown: str) -> None:
        """Set the run's description."""
        self.tags({MLFLOW_RUN_NOTE: markdown})

    def dataset(self, name: str, digest: str, source: str, context: str, profile: str) -> None:
        """Log a dataset input, `name (context)`; the digest is the DVC hash of the frame.

        MLflow keeps one input per run, name and digest, and one profile per experiment, name and digest. So the context is in the name,
        and the profile, which differs from run to run, is a tag of the input.
        """
        item = {"name": name, "digest": digest, "source": source, "context": context, "profile": profile}
        self._append({"run": self.run_id, "op": "dataset", "item": item})

    @contextmanager
    def artifact(self, name: str, folder: str = "") -> Iterator[Path]:
        """Yield a path to write an artifact (a file or a folder) to; it is sent when the block ends."""
        path = self._stage(name)
        yield path
        self._append({"run": self.run_id, "op": "artifact", "path": str(path), "folder": folder})

    @contextmanager
    def model(self, name: str) -> Iterator[Path]:
        """Yield a path to write an MLflow model (a folder) to; it becomes a logged model of the run, with its test metrics."""
        path = self._stage(name)
        yield path
        self._append({"run": self.run_id, "op": "model", "path": str(path), "name": name})

    def _stage(self, name: str) -> Path:
        self._staging.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._staging)) / name

    def text(self, name: str, text: str, folder: str = "") -> None:
        with self.artifact(name, folder) as path:
            path.write_text(text, encoding="utf-8")

    def begin(self) -> None:
        """Mark the run RUNNING; take back what was said of its end, if it ended before."""
        if self.status not in OPEN:
            self.describe("")
        self.status = "RUNNING"
        self._append({"run": self.run_id, "op": "status", "status": self.status})

    def postpone(self, reason: str) -> None:
        """Mark the run SCHEDULED again: another process goes on with it."""
        self.describe(reason)
        self.status = "SCHEDULED"
        self._append({"run": self.run_id, "op": "status", "status": self.status})

    def end(self, status: str) -> None:
        """Mark the run FINISHED, FAILED or KILLED, now."""
        self.status = status
        self._append({"run": self.run_id, "op": "status", "status": status, "end_ms": _now_ms()})


@dataclass
class Notebook:
    """The parent run of a command, and its children by key."""

    client: MlflowClient
    parent: RunLog
    children: dict[str, RunLog]
    experiment_id: str
    is_resumed: bool
    _sampler: "_Sampler"
    _hint: str
    _collect: Callable[[], None]

    @contextmanager
    def child(self, key: str) -> Iterator[RunLog]:
        """Run a block as one child: RUNNING, then FINISHED; KILLED when interrupted; FAILED, with the reason, on an error."""
        with _writing(self.children[key], self._hint, self._sampler) as run:
            yield run

    def schedule(self, planned: Sequence[Planned]) -> dict[str, str]:
        """Open children for other processes to write (`open_pages`); return their run ids by key."""
        return {key: run.info.run_id for key, run in self._scheduled(planned).items()}

    def schedule_unfinished(self, planned: Sequence[Planned]) -> dict[str, str]:
        """Open children for other processes to write, as SCHEDULED; return the run ids of those that are not finished, by key."""
        children = {key: run for key, run in self._scheduled(planned).items() if run.info.status != "FINISHED"}
        for run in children.values():
            self.client.update_run(run.info.run_id, status="SCHEDULED")
        return {key: run.info.run_id for key, run in children.items()}

    def _scheduled(self, planned: Sequence[Planned]) -> dict[str, Run]:
        with _reachable(mlflow.get_tracking_uri()):
            return _find_or_create(self.client, self.client.get_run(self.parent.run_id), planned)

    def collect(self) -> None:
        """Send what writers of children that died have left."""
        self._collect()

    @property
    def link(self) -> str:
        """The line that opens the parent in the MLflow UI."""
        uri = mlflow.get_tracking_uri()
        server = uri if uri.startswith("http") else "http://localhost:5000"
        command = "" if uri.startswith("http") else "mlflow ui, then "
        return f"{command}{server}/{link_to_run(self.experiment_id, self.parent.run_id)}"


@contextmanager
def open_notebook(
    *,
    name: str,
    tags: Mapping[str, object],
    planned: Sequence[Planned],
    folder: Path,
    resume: str | None = None,
    stays_open: bool = False,
    is_detached: bool = False,
    interval_s: float = 2.0,
    patience_s: float = 20.0,
) -> Iterator[Notebook]:
    """Open the parent run and its children for one command, and close whatever is open when the block ends.

    The parent is the run that `mlflow run` opened for this process (MLFLOW_RUN_ID), or a new one. With `resume` it is that run; the one
    opened for the call is deleted, so that it does not stand among the experiments. `folder` holds the outboxes, which are sent every
    `interval_s`; at the end a server that is away is waited for for `patience_s`.

    With `stays_open` the parent is still RUNNING after the block: other processes write its children, and the last of them closes it. If
    the call itself is over before (`is_detached`), the parent is a run of its own: `mlflow run` ends the run that it opened.
    """
    client = open_store()
    sender = _Sender(client)
    outboxes = folder.resolve() / _store_key(mlflow.get_tracking_uri())
    with _reachable(mlflow.get_tracking_uri()):
        _settle_earlier(client, sender, outboxes, resume)
        parent = _open_parent(client, name, tags, resume, is_detached)
        stored = _read_stored(client, parent)
    sampler = _Sampler()
    outbox = Outbox(outboxes / parent.info.run_id, sender.deliver, interval_s, sampler.sample_if_due)
    log = RunLog(parent.info.run_id, parent.info.status, outbox.append, outbox.folder / ARTIFACTS, stored)
    hint = _hint(parent.info.run_id, {**parent.data.tags, **tags})
    collect = partial(_settle_earlier, client, sender, outboxes, parent.info.run_id)
    try:
        with _ending(log, hint, stays_open):
            log.begin()
            with _reachable(mlflow.get_tracking_uri()):
                children = _open_children(client, parent, planned, outbox)
            try:
                with sampler.watching(log):
                    yield Notebook(client, log, children, parent.info.experiment_id, bool(resume), sampler, hint, collect)
            finally:
                for run in children.values():
                    if run.status in OPEN:
                        run.end("KILLED")
            outbox.flush()  # so that a record that was refused fails the experiment
    finally:
        if not outbox.close(patience_s):
            print(f"the tracking server is away: what it has not got is kept in {outbox.folder} and sent at the next start")


@dataclass(frozen=True)
class Pages:
    """Children of a parent run that another process leads, to be written by this one."""

    _client: MlflowClient
    _outbox: Outbox
    _sampler: "_Sampler"
    _hint: str
    _collect: Callable[[], None]

    @contextmanager
    def child(self, run_id: str, *, is_new: bool) -> Iterator[RunLog]:
        """Run a block as one child, as `Notebook.child` does; one that is not new goes on from what a process before has logged."""
        run = RunLog(run_id, "SCHEDULED", self._outbox.append, self._outbox.folder / ARTIFACTS)
        if not is_new:
            self._outbox.flush()
            self._collect()
            with _reachable(mlflow.get_tracking_uri()):
                found = find_run(self._client, run_id)
                run.status, run.stored = found.info.status, _read_stored(self._client, found)
        with _writing(run, self._hint, self._sampler):
            yield run


@contextmanager
def open_pages(parent_id: str, tags: Mapping[str, object], folder: Path) -> Iterator[Pages]:
    """Write children that `Notebook.schedule` opened, through an outbox of this process; `tags` are the parent's."""
    client = open_store()
    sender, sampler = _Sender(client), _Sampler()
    outboxes = folder.resolve() / _store_key(mlflow.get_tracking_uri())
    name = f"{parent_id}{WRITER}{socket.gethostname()}-{os.getpid()}"
    outbox = Outbox(outboxes / name, sender.deliver, each_tick=sampler.sample_if_due)
    try:
        yield Pages(client, outbox, sampler, _hint(parent_id, tags), partial(_settle_earlier, client, sender, outboxes, parent_id))
    finally:
        if not outbox.close():
            print(f"the tracking server is away: what it has not got is kept in {outbox.folder} and sent at the next start")


@contextmanager
def attending(checkpoints: Path, run_id: str) -> Iterator[None]:
    """Attend to an experiment whose rounds are written by processes of this machine: no other command goes on with it meanwhile.

    Raises:
        TrackingError: another command attends to it.
    """
    path = checkpoints / run_id / ATTENDED
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrackingError(f"run {run_id} is attended to by another command: wait for it to end, or end it") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # it holds states, or is gone
            path.parent.rmdir()


def _is_deserted(path: Path) -> bool:
    """Say whether the command is gone, without having ended, that held a lock of `attending`."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return True
    except Timeout:
        return False


def settle_earlier(client: MlflowClient, folder: Path, going_on: str) -> None:
    """Send what earlier processes left in the outboxes of a folder, so that all that they logged of the run `going_on` can be read."""
    uri = mlflow.get_tracking_uri()
    with _reachable(uri):
        _settle_earlier(client, _Sender(client), folder.resolve() / _store_key(uri), going_on)


def _store_key(uri: str) -> str:
    """Return a folder name for the outboxes of one store, so that no record is sent to another."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]


def _settle_earlier(client: MlflowClient, sender: "_Sender", outboxes: Path, going_on: str | None) -> None:
    """Send what earlier processes left, and mark the runs KILLED that died with their process; the one that is going on stays open."""

    def settle(outbox: Path) -> None:
        run_id, is_writer, _ = outbox.name.partition(WRITER)
        if run_id != going_on and (not is_writer or _is_deserted(outboxes.parent.parent / run_id / ATTENDED)):
            _close_abandoned(client, run_id)

    drained = drain(outboxes, sender.deliver, settle)
    for refusal in drained.refusals:
        print(f"left from an earlier start: {refusal}")
    for waiting in drained.waiting:
        print(f"{waiting.name}: earlier records still wait for the tracking server")
        if waiting.name.partition(WRITER)[0] == going_on:
            raise TrackingError(f"run {going_on} cannot go on yet: records of it still wait for the tracking server")


def _close_abandoned(client: MlflowClient, run_id: str) -> None:
    """Mark a run and its children KILLED, where they claim to be open."""
    try:
        owner = client.get_run(run_id)
        runs = [owner, *children_of(client, owner)] if owner.info.lifecycle_stage == "active" else []
        for run in runs:
            if run.info.status in OPEN:
                end_run(client, run.info.run_id, "KILLED", f"The process ended without a word. {_hint(run_id, owner.data.tags)}")
    except MlflowException as error:
        if _is_outage(error):
            raise Unreachable(str(error)) from error
        print(f"run {run_id} of an earlier start is gone: {' '.join(str(error).split())[:200]}")


def _open_parent(client: MlflowClient, name: str, tags: Mapping[str, object], resume: str | None, is_detached: bool) -> Run:
    opened = os.environ.pop("MLFLOW_RUN_ID", None)
    if resume:
        return _resumed(client, resume, opened)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    parent = client.get_run(opened) if opened and not is_detached else client.create_run(experiment.experiment_id)
    if opened and is_detached:
        _subordinate(client, opened, parent.info.run_id)
    named = {MLFLOW_RUN_NAME: name, **tags}
    client.log_batch(parent.info.run_id, tags=[RunTag(key, str(value)[:MAX_TAG_CHARACTERS]) for key, value in named.items()])
    return parent


def _hint(parent_id: str, tags: Mapping[str, object]) -> str:
    """Say how an interrupted command goes on."""
    return "Go on with the same command." if STUDY_TAG in tags else f"Go on with `mlflow run . -P resume={parent_id}`."


@contextmanager
def _writing(run: RunLog, hint: str, sampler: "_Sampler") -> Iterator[RunLog]:
    run.begin()
    with _ending(run, hint), sampler.watching(run):
        yield run


@contextmanager
def _ending(run: RunLog, hint: str, stays_open: bool = False) -> Iterator[None]:
    """Give a run its final status, whatever happens in the block; with `stays_open`, only if it fails."""
    try:
        yield
    except Postponed as postponed:
        run.postpone(f"Waits to go on. {postponed}")
        raise
    except (Interrupted, KeyboardInterrupt):
        run.describe(f"Interrupted. {hint}")
        run.end("KILLED")
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, SerError) else f"{type(error).__name__}: {error}"
        run.describe(f"Failed: {reason}")
        run.end("FAILED")
        raise
    if not stays_open:
        run.end("FINISHED")


def _resumed(client: MlflowClient, resume: str, opened: str | None) -> Run:
    parent = find_run(client, resume)
    if MLFLOW_PARENT_RUN_ID in parent.data.tags:
        raise TrackingError(f"run {resume} is one training of experiment {parent.data.tags[MLFLOW_PARENT_RUN_ID]}, resume that one")
    if opened and opened != resume:
        _subordinate(client, opened, resume)
    return parent


def subordinate_opened_run(parent_id: str) -> None:
    """Hang the run that `mlflow run` opened for this call under the experiment that the call helps with."""
    opened = os.environ.pop("MLFLOW_RUN_ID", None)
    if opened:
        _subordinate(open_store(), opened, parent_id)


def _subordinate(client: MlflowClient, run_id: str, parent_id: str) -> None:
    """Take a run from among the experiments.

    It cannot be deleted: at its end `mlflow run` sets the status of the run that it opened, and fails if that one is gone.
    """
    client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, parent_id)
    client.set_tag(run_id, MLFLOW_RUN_NAME, "call that went on with it")
    client.set_tag(run_id, MLFLOW_RUN_NOTE, "A call of `mlflow run` that went on with this experiment; it holds no results.")
    client.set_terminated(run_id, "FINISHED")


@contextmanager
def explaining_failure(command: str) -> Iterator[None]:
    """Where a command fails before its notebook is open, name the run that `mlflow run` opened for it and say why it failed.

    `mlflow run` itself then marks the run FAILED.
    """
    try:
        yield
    except SerError as error:
        opened = os.environ.get("MLFLOW_RUN_ID")
        if opened and not isinstance(error, TrackingError):
            client = open_store()
            client.set_tag(opened, MLFLOW_RUN_NAME, f"{command} (refused)")
            client.set_tag(opened, MLFLOW_RUN_NOTE, f"Failed: {error}")
        raise


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run, or say that there is none."""
    uri = mlflow.get_tracking_uri()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in RETRIED_CODES:
            raise TrackingError(f"tracking store {uri} cannot be used: {' '.join(str(error).split())[:300]}") from error
        raise TrackingError(f"no run {run_id!r} in {uri}, expected a run id as the MLflow UI shows it") from error
    if run.info.lifecycle_stage != "active":
        raise TrackingError(f"run {run_id!r} was deleted, restore it in the MLflow UI first")
    return run


def children_of(client: MlflowClient, run: Run) -> list[Run]:
    """Return the trainings of a parent, in the order in which they were planned."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [run.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.info.run_id}'",
            ViewType.ACTIVE_ONLY,
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found.extend(run for run in page if KEY_TAG in run.data.tags)
        token = page.token
        if not token:
            return found


def parents_tagged(client: MlflowClient, key: str, value: str) -> list[Run]:
    """Return the finished experiments (parent runs) with a tag, oldest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{key}` = '{value}' and attributes.status = 'FINISHED'",
        ViewType.ACTIVE_ONLY,
        max_results=1000,
        order_by=["attributes.start_time ASC"],
    )
    return [run for run in found if MLFLOW_PARENT_RUN_ID not in run.data.tags and "code" in run.data.tags]  # compare and predict have none


def end_run(client: MlflowClient, run_id: str, status: str, note: str) -> None:
    """End a run whose own process does not: say why, and mark it KILLED or FAILED."""
    client.set_tag(run_id, MLFLOW_RUN_NOTE, note)
    client.set_terminated(run_id, status)


def note_of(run: Run) -> str:
    """Return a run's description."""
    return run.data.tags.get(MLFLOW_RUN_NOTE, "")


def key_of(child: Run) -> str:
    """Return what tells a child run from the others of its parent."""
    return child.data.tags[KEY_TAG]


def metric_points(client: MlflowClient, run: Run) -> dict[str, list[float]]:
    """Return the values of every metric of a run, in the order of their steps."""
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: [point.value for point in sorted(history, key=lambda point: point.step)] for name, history in histories.items()}


def read_artifact(client: MlflowClient, run_id: str, path: str) -> Path:
    """Return a local copy of an artifact of a run."""
    try:
        return Path(client.download_artifacts(run_id, path))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"run {run_id} holds no {path}: it is not a run of this laboratory, or not a finished one") from error


def _open_children(client: MlflowClient, parent: Run, planned: Sequence[Planned], outbox: Outbox) -> dict[str, RunLog]:
    """Open a log of each child; nothing is read of one that is finished, as nothing more is logged to it."""
    children = {}
    for key, run in _find_or_create(client, parent, planned).items():
        stored = Stored() if run.info.status == "FINISHED" else _read_stored(client, run)
        children[key] = RunLog(run.info.run_id, run.info.status, outbox.append, outbox.folder / ARTIFACTS, stored)
    return children


def _find_or_create(client: MlflowClient, parent: Run, planned: Sequence[Planned]) -> dict[str, Run]:
    """Return the children by key: found among those that the parent has, or created."""
    existing = {run.data.tags.get(KEY_TAG, ""): run for run in children_of(client, parent)}
    children = {}
    for plan in planned:
        run = existing.get(plan.key)
        if run is None:
            tags = {MLFLOW_PARENT_RUN_ID: parent.info.run_id, KEY_TAG: plan.key, **plan.tags}
            run = client.create_run(parent.info.experiment_id, tags=tags, run_name=plan.name)
            client.update_run(run.info.run_id, status="SCHEDULED")
            run = client.get_run(run.info.run_id)
        children[plan.key] = run
    return children


def _read_stored(client: MlflowClient, run: Run) -> Stored:
    """Return what the store has of a run that goes on."""
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics if not key.startswith(SYSTEM)}
    sampled = [key for key in run.data.metrics if key.startswith(SYSTEM)][:1]
    return Stored(
        frozenset((key, point.step) for key, history in histories.items() for point in history),
        frozenset(run.data.params),
        max((point.step + 1 for key in sampled for point in client.get_metric_history(run.info.run_id, key)), default=0),
    )


class _Sampler:
    """Samples the machine (CPU, memory, disk, network, GPU) for the runs that are open: at their begin and end, and in between."""

    def __init__(self) -> None:
        self._monitor = SystemMetricsMonitor(run_id="")
        self._steps: dict[str, int] = {}
        self._runs: list[RunLog] = []
        self._turn = threading.Lock()
        self._due = 0.0

    @contextmanager
    def watching(self, run: RunLog) -> Iterator[None]:
        """Sample for this run, too, while the block runs."""
        self._steps[run.run_id] = run.stored.num_samples
        self._runs.append(run)
        try:
            self._sample()
            yield
            self._sample()
        finally:
            self._runs.remove(run)

    def sample_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self._sample()

    def _sample(self) -> None:
        with self._turn:
            self._due = time.monotonic() + SAMPLING_INTERVAL_S
            self._monitor.collect_metrics()
            values = {f"{SYSTEM}{key}": value for key, value in self._monitor.aggregate_metrics().items()}
            for monitor in self._monitor.monitors:
                monitor.clear_metrics()
            for run in list(self._runs):
                run.metrics(values, self._steps[run.run_id])
                self._steps[run.run_id] += 1


class _Sender:
    """Sends the records of an outbox to MLflow; sending a record twice changes nothing.

    A run of which a record was refused does not become FINISHED: it lacks something for good.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._refusals: dict[str, str] = {}

    def deliver(self, records: Sequence[Record]) -> None:
        try:
            for (run_id, op), group in groupby(records, key=lambda record: (record["run"], record["op"])):
                getattr(self, f"_{op}")(run_id, list(group))
        except (MlflowException, OSError) as error:  # requests' exceptions are OSErrors
            if _is_outage(error):
                raise Unreachable(str(error)) from error
            refusal = f"the tracking store refused a record: {' '.join(str(error).split())[:300]}"
            if len(records) == 1:  # more are sent again one by one
                self._refusals.setdefault(records[0]["run"], refusal)
            raise TrackingError(refusal) from error

    def _metrics(self, run_id: str, records: list[Record]) -> None:
        metrics = [Metric(key, value, timestamp, step) for record in records for key, value, timestamp, step in record["items"]]
        self._client.log_batch(run_id, metrics=metrics)

    def _params(self, run_id: str, records: list[Record]) -> None:
        self._client.log_batch(run_id, params=[Param(key, value) for record in records for key, value in record["items"].items()])

    def _tags(self, run_id: str, records: list[Record]) -> None:
        self._client.log_batch(run_id, tags=[RunTag(key, value) for record in records for key, value in record["items"].items()])

    def _dataset(self, run_id: str, records: list[Record]) -> None:
        inputs = [
            DatasetInput(
                Dataset(f"{item['name']} ({item['context']})", item["digest"], "dvc", item["source"]),
                [InputTag(MLFLOW_DATASET_CONTEXT, item["context"]), InputTag("profile", item["profile"])],
            )
            for item in (record["item"] for record in records)
        ]
        self._client.log_inputs(run_id, inputs)

    def _artifact(self, run_id: str, records: list[Record]) -> None:
        for record in records:
            path, folder = Path(record["path"]), record["folder"] or None
            if not path.exists():
                continue  # it arrived, and the process died before noting so
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), f"{folder}/{path.name}" if folder else path.name)
            else:
                self._client.log_artifact(run_id, str(path), folder)
            remove(path.parent)

    def _model(self, run_id: str, records: list[Record]) -> None:
        for record in records:
            path = Path(record["path"])
            if path.exists():  # else it arrived, and the process died before noting so
                self._log_model(run_id, path, record["name"])
                remove(path.parent)

    def _log_model(self, run_id: str, path: Path, name: str) -> None:
        """Make a folder a logged model of a run; a run has one model of a name, so that sending it twice makes no second one."""
        run = self._client.get_run(run_id)
        found = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}' AND name = '{name}'")
        model = found[0] if found else self._client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params)
        points = [point for key in run.data.metrics if key.startswith("test/") for point in self._client.get_metric_history(run_id, key)]
        linked = [Metric(point.key, point.value, point.timestamp, point.step, model_id=model.model_id, run_id=run_id) for point in points]
        self._client.log_batch(run_id, metrics=linked)
        description = Model.load(path)
        description.model_id = description.model_uuid = model.model_id
        description.run_id, description.artifact_path = run_id, model.artifact_location
        description.model_size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        description.save(path / MLMODEL_FILE_NAME)
        self._client.log_model_artifacts(model.model_id, str(path))
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        outputs = run.outputs.model_outputs if run.outputs else []
        if model.model_id not in [output.model_id for output in outputs]:  # last, as a run's outputs are whole models
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _status(self, run_id: str, records: list[Record]) -> None:
        record: Mapping[str, Any] = records[-1]
        if record["status"] == "FINISHED" and run_id in self._refusals:
            end_run(self._client, run_id, "FAILED", f"Failed: {self._refusals[run_id]}")
        elif "end_ms" in record:
            self._client.set_terminated(run_id, record["status"], record["end_ms"])
        else:
            self._client.update_run(run_id, status=record["status"])


def _is_outage(error: MlflowException | OSError) -> bool:
    """Say whether sending the same again later may succeed."""
    if isinstance(error, MlflowException):
        return error.error_code in RETRIED_CODES
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in RETRIED_HTTP_CODES
    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError) or error.errno in DISK_FULL


def _now_ms() -> int:
    return int(time.time() * 1000)
