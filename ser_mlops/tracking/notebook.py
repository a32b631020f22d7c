"""The notebook of a command: one command is one parent run in MLflow, one training is one child run.

Everything that is logged goes through an outbox on disk, so that an unreachable tracking server neither stops nor slows a training and
every record arrives exactly once: MLflow keeps one row per (metric, timestamp, step, value), and records carry their own timestamps.
Child runs are opened together with their parent, as SCHEDULED, so that nothing needs an answer from the server in mid-training.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from ser_mlops.errors import Interrupted, Postponed, SerError, TrackingError
from ser_mlops.tracking.names import CHILD_KEY_TAG, TITLE_TAG
from ser_mlops.tracking.opened_run import is_chosen, put_aside, take_opened_run
from ser_mlops.tracking.outbox import PACE, Outbox, Pace
from ser_mlops.tracking.recovery import WRITER, outboxes_of, recover_outboxes, resume_hint
from ser_mlops.tracking.runlog import MAX_TAG_CHARACTERS, RunLog, Stored, read_stored
from ser_mlops.tracking.sampler import Sampler
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import (
    OPEN_STATUSES,
    children_of,
    find_experiment,
    find_run,
    open_store,
    parent_id_of,
    tracking_uri,
    using_store,
)
from ser_mlops.tracking.views import link_to_run, newest_curves


@dataclass(frozen=True)
class Planned:
    """A child run that is to be opened: its key, unique within the parent, its name and its tags."""

    key: str
    name: str
    tags: Mapping[str, str]


@dataclass
class Notebook:
    """The parent run of a command, and its children by key."""

    client: MlflowClient
    parent: RunLog
    children: dict[str, RunLog]
    experiment_id: str
    is_resumed: bool
    _sampler: Sampler
    _hint: str
    _collect: Callable[[], None]

    @contextmanager
    def child(self, key: str) -> Iterator[RunLog]:
        """Run a block as one child: RUNNING, then FINISHED; KILLED when interrupted; FAILED, with the reason, on an error."""
        with writing(self.children[key], self._hint, self._sampler) as run:
            yield run

    def schedule(self, planned: Sequence[Planned]) -> dict[str, str]:
        """Open children for other processes to write (`open_child_writer`); return their run ids by key."""
        return {key: run.info.run_id for key, run in self._scheduled(planned).items()}

    def schedule_unfinished(self, planned: Sequence[Planned], reopened: Collection[str] = ()) -> dict[str, str]:
        """Open children for other processes to write, as SCHEDULED; return the run ids of those that are not finished, by key.

        Those of the keys `reopened` are opened again even if they are finished.
        """
        children = {key: run for key, run in self._scheduled(planned).items() if run.info.status != "FINISHED" or key in reopened}
        for run in children.values():
            self.client.update_run(run.info.run_id, status="SCHEDULED")
        return {key: run.info.run_id for key, run in children.items()}

    def _scheduled(self, planned: Sequence[Planned]) -> dict[str, Run]:
        with using_store():
            return _find_or_create(self.client, self.client.get_run(self.parent.run_id), planned)

    def collect(self) -> None:
        """Send what writers of children that died left unsent."""
        self._collect()

    def show_curves(self) -> None:
        """Make the view `curves` of MLflow's pages that of this experiment's rounds."""
        with using_store():
            for key, value in newest_curves(self.parent.run_id).items():
                self.client.set_experiment_tag(self.experiment_id, key, value)

    @property
    def link(self) -> str:
        """The line that opens the parent in the MLflow UI."""
        uri = tracking_uri()
        server = uri if uri.startswith("http") else "http://localhost:5000"
        command = "" if uri.startswith("http") else "mlflow ui, then "
        return f"{command}{server}/{link_to_run(self.experiment_id, self.parent.run_id)}"


@contextmanager
def open_notebook(
    *,
    name: str,
    tags: Mapping[str, object],
    planned: Sequence[Planned] = (),
    folder: Path,
    resume: str | None = None,
    stays_open: bool = False,
    is_detached: bool = False,
    pace: Pace = PACE,
) -> Iterator[Notebook]:
    """Open the parent run and its children for one command, and close whatever is open when the block ends.

    The parent is the run that `mlflow run` opened for this process (MLFLOW_RUN_ID), or a new one. With `resume` it is that run, and the one
    opened for the call becomes a child of it, so that it is not listed among the experiments. `folder` holds the outboxes.

    With `stays_open` the parent is still RUNNING after the block: other processes write its children, and the last of them closes it. If
    the call itself ends before them (`is_detached`), the parent is a run of its own: `mlflow run` ends the run that it opened.
    """
    client = open_store()
    sender = Sender(client)
    outboxes = outboxes_of(folder)
    sampler = Sampler()
    with using_store():
        recover_outboxes(client, sender, outboxes, resume)
        parent = _open_parent(client, name, tags, resume, is_detached)
        stored = read_stored(client, parent)
    outbox = Outbox(outboxes / parent.info.run_id, sender.deliver, pace, sampler.sample_if_due)
    log = RunLog(parent.info.run_id, parent.info.status, outbox, stored)
    hint = resume_hint(parent.info.run_id, {**parent.data.tags, **tags})
    collect = partial(recover_outboxes, client, sender, outboxes, parent.info.run_id)
    try:
        with _ending(log, hint, stays_open):
            log.begin()
            with using_store():
                children = _open_children(client, parent, planned, outbox)
            try:
                with sampler.watching(log):
                    yield Notebook(client, log, children, parent.info.experiment_id, bool(resume), sampler, hint, collect)
            finally:
                for run in children.values():
                    if run.status in OPEN_STATUSES:
                        run.end("KILLED")
            outbox.flush()  # so that a record that was refused fails the experiment
    finally:
        _close(outbox)


@dataclass(frozen=True)
class ChildWriter:
    """Writes children of a parent run that another process leads."""

    _client: MlflowClient
    _outbox: Outbox
    _sampler: Sampler
    _hint: str
    _collect: Callable[[], None]

    @contextmanager
    def child(self, run_id: str, *, is_new: bool) -> Iterator[RunLog]:
        """Run a block as one child, as `Notebook.child` does; one that is not new resumes what an earlier process logged."""
        run = RunLog(run_id, "SCHEDULED", self._outbox)
        if not is_new:
            self._outbox.flush()
            self._collect()
            with using_store():
                found = find_run(self._client, run_id)
                run.status, run.stored = found.info.status, read_stored(self._client, found)
        with writing(run, self._hint, self._sampler):
            yield run


@contextmanager
def open_child_writer(parent_id: str, tags: Mapping[str, object], folder: Path) -> Iterator[ChildWriter]:
    """Open a writer of children that `Notebook.schedule` opened, with an outbox of this process; `tags` are the parent's."""
    client = open_store()
    sender, sampler = Sender(client), Sampler()
    outboxes = outboxes_of(folder)
    name = f"{parent_id}{WRITER}{socket.gethostname()}-{os.getpid()}"
    outbox = Outbox(outboxes / name, sender.deliver, each_tick=sampler.sample_if_due)
    try:
        yield ChildWriter(
            client, outbox, sampler, resume_hint(parent_id, tags), partial(recover_outboxes, client, sender, outboxes, parent_id)
        )
    finally:
        _close(outbox)


def _close(outbox: Outbox) -> None:
    if not outbox.close():
        print(f"the tracking server is unreachable; unsent records are kept in {outbox.folder} and sent at the next start")


def _open_parent(client: MlflowClient, name: str, tags: Mapping[str, object], resume: str | None, is_detached: bool) -> Run:
    opened = take_opened_run()
    if resume:
        return _resumed(client, resume, opened)
    experiment = find_experiment(client)
    assert experiment is not None
    call = client.get_run(opened) if opened else None
    chosen = call.info.run_name if call is not None and is_chosen(call.info.run_name) else name
    named = {key: str(value)[:MAX_TAG_CHARACTERS] for key, value in {MLFLOW_RUN_NAME: chosen, TITLE_TAG: name, **tags}.items()}
    if call is not None and not is_detached:
        client.log_batch(call.info.run_id, tags=[RunTag(key, value) for key, value in named.items()])
        return call
    parent = client.create_run(experiment.experiment_id, tags=named)  # in one step: a kill leaves no run without its outbox for long
    if call is not None:
        put_aside(client, call.info.run_id, parent.info.run_id, "detached call")
    return parent


def _resumed(client: MlflowClient, resume: str, opened: str | None) -> Run:
    parent = find_run(client, resume)
    if experiment_id := parent_id_of(parent):
        raise TrackingError(f"run {resume} is one round of experiment {experiment_id}: resume that experiment")
    if opened and opened != resume:
        put_aside(client, opened, resume, "resume call")
    return parent


def _open_children(client: MlflowClient, parent: Run, planned: Sequence[Planned], outbox: Outbox) -> dict[str, RunLog]:
    """Open a log for each child; a finished one is not read, as nothing more is logged to it."""
    children = {}
    for key, run in _find_or_create(client, parent, planned).items():
        stored = Stored() if run.info.status == "FINISHED" else read_stored(client, run)
        children[key] = RunLog(run.info.run_id, run.info.status, outbox, stored)
    return children


def _find_or_create(client: MlflowClient, parent: Run, planned: Sequence[Planned]) -> dict[str, Run]:
    """Return the children by key: those that the parent has, and new ones for the rest."""
    existing = {run.data.tags.get(CHILD_KEY_TAG, ""): run for run in children_of(client, parent)}
    children = {}
    for plan in planned:
        run = existing.get(plan.key)
        if run is None:
            tags = {MLFLOW_PARENT_RUN_ID: parent.info.run_id, CHILD_KEY_TAG: plan.key, **plan.tags}
            run = client.create_run(parent.info.experiment_id, tags=tags, run_name=plan.name)
            client.update_run(run.info.run_id, status="SCHEDULED")
            run = client.get_run(run.info.run_id)
        children[plan.key] = run
    return children


@contextmanager
def writing(run: RunLog, hint: str, sampler: Sampler) -> Iterator[RunLog]:
    """Begin a run, let a block write it, and give it its final status."""
    run.begin()
    with _ending(run, hint), sampler.watching(run):
        yield run


@contextmanager
def _ending(run: RunLog, hint: str, stays_open: bool = False) -> Iterator[None]:
    """Give a run its final status, whatever happens in the block; with `stays_open`, only if it fails."""
    try:
        yield
    except Postponed as postponed:
        run.postpone(f"Waiting to be resumed. {postponed}")
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
