"""Brings the experiments of an archive into a tracking store, each once, whenever and however often an import is interrupted.

MLflow chooses the id of every run, so an imported run is a copy: it keeps its original's times, and names the original in a tag, by
which the copy is found again. Whatever is sent twice changes nothing, and the tag that says that a run is whole comes last: first on the
children, then on the parent. All that a run recorded stays as it is, but for the links that MLflow's own pages follow.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE, MLFLOW_USER

from ser_mlops.errors import TrackingError
from ser_mlops.files import remove
from ser_mlops.tracking.archive import ARTIFACTS_FOLDER, MODEL, MODELS, RUNS, Manifest, RunRecord, read_metrics, read_record
from ser_mlops.tracking.names import CHILD_KEY_TAG, IMPORTED_TAG, ORIGINAL_RUN_TAG, ORIGINAL_STORE_TAG
from ser_mlops.tracking.outbox import Unreachable
from ser_mlops.tracking.recovery import outboxes_of
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import OPEN_STATUSES, children_of, copies_of, find_experiment, is_outage, one_line

STAGING = "imports"
"""Folder under paths.checkpoints for what is on its way into a store."""


@dataclass(frozen=True)
class Arrival:
    """An experiment of an archive in the store."""

    run_id: str
    is_new: bool
    """Whether anything was brought; else it was there."""


@contextmanager
def staging_folder(checkpoints: Path) -> Iterator[Path]:
    """Yield an empty folder for what is on its way into the store in use; one import at a time.

    Raises:
        TrackingError: another command is importing.
    """
    folder = outboxes_of(checkpoints / STAGING)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            work = folder / "work"
            remove(work)
            work.mkdir()
            try:
                yield work
            finally:
                remove(work)
    except Timeout:
        raise TrackingError(f"another import is at work in {folder}: wait for it to end") from None


def import_experiment(client: MlflowClient, archive: Path, manifest: Manifest, parent_id: str, staging: Path) -> Arrival:
    """Bring an experiment of an archive, with its children, into the store in use, or what it lacks of it.

    Raises:
        TrackingError: the store stopped answering, refused something, or has a copy that went on by itself.
    """
    records = [read_record(archive, run_id) for run_id in (parent_id, *manifest.experiments[parent_id])]
    parent, *children = records
    with _reaching_store(f"importing run {parent_id}"):
        if is_at_home(client, parent):
            return Arrival(original_of(parent), is_new=False)
        if copy := next(iter(copies_of(client, original_of(parent))), None):
            if is_whole(copy, manifest.digest_of(parent_id)):
                return Arrival(copy.info.run_id, is_new=False)
            _refuse_continued(copy, parent)
            if IMPORTED_TAG in copy.data.tags:  # it is not whole until this import has ended
                client.delete_tag(copy.info.run_id, IMPORTED_TAG)
        experiment = find_experiment(client)
        assert experiment is not None
        here = _find_or_create(client, experiment.experiment_id, records, manifest.store)
        ids = {record.run_id: here[record.run_id].info.run_id for record in records}
        for record in (*children, parent):
            digest = manifest.digest_of(record.run_id)
            if not is_whole(here[record.run_id], digest):
                _fill(client, archive, record, here[record.run_id], staging)
                note = _relinked(record, ids, here[parent_id].info.experiment_id)
                _end(client, ids[record.run_id], record, {MLFLOW_RUN_NOTE: note, IMPORTED_TAG: f"{digest} {record.status}"})
    return Arrival(ids[parent_id], is_new=True)


def original_of(record: RunRecord) -> str:
    """Return the id of the run that a run is a copy of, or its own."""
    return record.tags.get(ORIGINAL_RUN_TAG, record.run_id)


def is_at_home(client: MlflowClient, record: RunRecord) -> bool:
    """Whether the store has the original itself."""
    try:
        return client.get_run(original_of(record)).info.lifecycle_stage == "active"
    except MlflowException as error:
        if is_outage(error):
            raise
        return False


def is_whole(copy: Run, digest: str) -> bool:
    """Whether all that an archive holds of a run has arrived in its copy."""
    return copy.data.tags.get(IMPORTED_TAG, "").partition(" ")[0] == digest


def _refuse_continued(copy: Run, parent: RunRecord) -> None:
    """Refuse to bring a run whose copy was resumed here after it had arrived: both have gone on by themselves."""
    _, _, arrived_as = copy.data.tags.get(IMPORTED_TAG, "").partition(" ")
    if arrived_as and copy.info.status != arrived_as:
        raise TrackingError(
            f"run {copy.info.run_id}, the copy of {original_of(parent)}, was resumed here: it came as {arrived_as} and is "
            f"{copy.info.status}. To have the archive's instead, delete that copy in MLflow"
        )


def _find_or_create(client: MlflowClient, experiment_id: str, records: Sequence[RunRecord], store: str) -> dict[str, Run]:
    """Return the copies of a parent and its children by the ids of the archive, created where there are none."""
    parent, *children = records
    if not copies_of(client, original_of(parent)):
        _create(client, experiment_id, parent, {}, store)
    copy = _only(client, copies_of(client, original_of(parent)))
    found = {run.data.tags.get(ORIGINAL_RUN_TAG) for run in children_of(client, copy)}
    for record in children:
        if original_of(record) not in found:
            tags = {MLFLOW_PARENT_RUN_ID: copy.info.run_id, CHILD_KEY_TAG: record.tags.get(CHILD_KEY_TAG, "")}
            _create(client, copy.info.experiment_id, record, tags, store)
    copies = children_of(client, copy)
    by_original = {original_of(record): record.run_id for record in children}
    return {parent.run_id: copy} | {
        run_id: _only(client, [run for run in copies if run.data.tags.get(ORIGINAL_RUN_TAG) == original])
        for original, run_id in by_original.items()
    }


def _create(client: MlflowClient, experiment_id: str, record: RunRecord, tags: Mapping[str, str], store: str) -> None:
    """Create a copy in one request, which makes it known as one."""
    told = {} if record.parent_id else {MLFLOW_RUN_NOTE: "It is being imported. If this stays, give the same command again: it continues."}
    user = record.tags.get(MLFLOW_USER)
    own = {ORIGINAL_RUN_TAG: original_of(record), ORIGINAL_STORE_TAG: record.tags.get(ORIGINAL_STORE_TAG, store)}
    client.create_run(experiment_id, record.start_ms, {**({MLFLOW_USER: user} if user else {}), **told, **own, **tags}, record.name)


def _only(client: MlflowClient, copies: Sequence[Run]) -> Run:
    """Return the copy that counts. A second one, of a request that was answered too late and sent again, is deleted."""
    first, *others = sorted(copies, key=lambda run: (IMPORTED_TAG not in run.data.tags, run.info.run_id))
    for run in others:
        if IMPORTED_TAG not in run.data.tags:
            client.delete_run(run.info.run_id)
    return first


def _fill(client: MlflowClient, archive: Path, record: RunRecord, copy: Run, staging: Path) -> None:
    """Send everything of a run but its description and its end."""
    folder, run_id = archive / RUNS / record.run_id, copy.info.run_id
    ours = (MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE, ORIGINAL_RUN_TAG, ORIGINAL_STORE_TAG, IMPORTED_TAG)
    tags = [RunTag(key, value) for key, value in record.tags.items() if key not in ours]
    params = [Param(key, value) for key, value in record.params.items()]
    client.log_batch(run_id, metrics=read_metrics(archive, record.run_id), params=params, tags=tags)
    inputs = [
        DatasetInput(
            Dataset(item.name, item.digest, item.source_type, item.source, item.schema, item.profile),
            [InputTag(key, value) for key, value in item.tags.items()],
        )
        for item in record.datasets
    ]
    if inputs:
        client.log_inputs(run_id, inputs)
    if (folder / ARTIFACTS_FOLDER).is_dir():
        client.log_artifacts(run_id, str(folder / ARTIFACTS_FOLDER))
    for number, name in enumerate(record.models):
        model, own = folder / MODELS / str(number) / MODEL, Path(tempfile.mkdtemp(dir=staging)) / MODEL  # the sender changes and removes it
        if archive.is_relative_to(staging):
            model.rename(own)
        else:
            shutil.copytree(model, own)
        Sender(client).deliver([{"run": run_id, "op": "model", "path": str(own), "name": name}])


def _relinked(record: RunRecord, ids: Mapping[str, str], experiment_id: str) -> str:
    """Return a description whose links lead to the copies."""
    note = record.tags.get(MLFLOW_RUN_NOTE, "")
    for old, new in ids.items():
        note = note.replace(old, new)
    note = note.replace(f"#/experiments/{record.experiment_id}/", f"#/experiments/{experiment_id}/")
    return note.replace(quote(json.dumps([record.experiment_id])), quote(json.dumps([experiment_id])))


def _end(client: MlflowClient, run_id: str, record: RunRecord, tags: Mapping[str, str]) -> None:
    """End a copy when its original ended, then mark it as whole."""
    if record.status in OPEN_STATUSES:
        client.update_run(run_id, status=record.status)
    else:
        client.set_terminated(run_id, record.status, record.end_ms)
    client.log_batch(
        run_id, tags=[RunTag(key, value) for key, value in tags.items() if value or key in record.tags or not record.parent_id]
    )


@contextmanager
def _reaching_store(what: str) -> Iterator[None]:
    try:
        yield
    except Unreachable as error:
        raise TrackingError(f"{what} stopped: {error}. To continue, give the same command again") from error
    except (MlflowException, OSError) as error:  # requests' exceptions are OSErrors
        if is_outage(error):
            raise TrackingError(f"{what} stopped: {one_line(error, 200)}. To continue, give the same command again") from error
        raise TrackingError(f"the tracking store refused what {what} sent: {one_line(error, 300)}") from error
