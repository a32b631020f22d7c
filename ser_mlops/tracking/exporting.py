"""Writes runs of a tracking store into the folder of an archive."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ser_mlops.errors import TrackingError
from ser_mlops.files import remove
from ser_mlops.tracking.archive import ARTIFACTS_FOLDER, MODEL, MODELS, RUNS, DatasetRecord, RunRecord, write_record
from ser_mlops.tracking.store import parent_id_of


@dataclass(frozen=True)
class Source:
    """Where runs come from."""

    client: MlflowClient
    repository: Callable[[str], ArtifactRepository] = get_artifact_repository
    """Opens the files behind an artifact URI."""
    is_linked: bool = False
    """Give files on this disk a second name instead of copying them; for what is only read on its way to another store."""
    left_out: tuple[str, ...] = ()
    """Suffixes of files that stay away."""


def write_run(source: Source, run: Run, archive: Path, taken: Collection[str]) -> list[str]:
    """Write a run and those of its logged models whose ids are `taken`; return the files that stayed away."""
    folder, models = archive / RUNS / run.info.run_id, [model for model in models_of(source.client, run) if model.model_id in taken]
    write_record(folder, _record_of(run, models), _points_of(source.client, run))
    is_experiment = run.info.status == "FINISHED" and parent_id_of(run) is None and "code" in run.data.tags
    _fetch(source, run.info.artifact_uri, folder / ARTIFACTS_FOLDER, is_needed=is_experiment)
    for number, model in enumerate(models):
        _fetch(source, model.artifact_location, folder / MODELS / str(number) / MODEL, is_needed=True)
    away = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.lower().endswith(source.left_out)]
    for path in away if source.left_out else ():
        remove(path)
    return [path.relative_to(folder).as_posix() for path in away] if source.left_out else []


def models_of(client: MlflowClient, run: Run) -> list[LoggedModel]:
    """Return the whole logged models of a run that were not freed."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return [model for model in found if model.status == LoggedModelStatus.READY]


def shown_store(uri: str) -> str:
    """Return the URI of a tracking store without passwords and folders.

    >>> shown_store("sqlite:////home/me/mlflow.db"), shown_store("http://me:secret@lab:5000")
    ('sqlite:///mlflow.db', 'http://lab:5000')
    """
    try:
        address = make_url(uri)
    except ArgumentError:
        return uri
    if address.drivername.startswith("sqlite"):
        return f"sqlite:///{Path(address.database or '').name}"
    return URL.create(address.drivername, host=address.host, port=address.port, database=address.database).render_as_string()


def _record_of(run: Run, models: list[LoggedModel]) -> RunRecord:
    info, inputs = run.info, run.inputs.dataset_inputs if run.inputs else []
    datasets = [
        DatasetRecord(
            item.dataset.name,
            item.dataset.digest,
            item.dataset.source_type,
            item.dataset.source,
            item.dataset.schema,
            item.dataset.profile,
            {tag.key: tag.value for tag in item.tags},
        )
        for item in inputs
    ]
    return RunRecord(
        run_id=info.run_id,
        parent_id=parent_id_of(run),
        experiment_id=info.experiment_id,
        name=info.run_name,
        status=info.status,
        start_ms=info.start_time,
        end_ms=info.end_time,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        datasets=sorted(datasets, key=lambda item: (item.name, item.digest)),
        models=[model.name for model in models],
    )


def _points_of(client: MlflowClient, run: Run) -> Iterator[Metric]:
    for key in sorted(run.data.metrics):
        yield from sorted(client.get_metric_history(run.info.run_id, key), key=lambda point: (point.step, point.timestamp))


def _fetch(source: Source, uri: str, destination: Path, *, is_needed: bool) -> None:
    """Bring the files behind an artifact URI into a folder, if there are any; `is_needed` says that there must be."""
    repository = source.repository(uri)
    if isinstance(repository, LocalArtifactRepository):
        if Path(repository.artifact_dir).is_dir():
            shutil.copytree(repository.artifact_dir, destination, copy_function=_link if source.is_linked else shutil.copyfile)
    elif repository.list_artifacts():
        destination.mkdir(parents=True)
        repository.download_artifacts("", str(destination))
    if is_needed and not destination.exists():
        raise TrackingError(f"there are no files in {uri}: bring them along with the database, to where they were or beside it")


def _link(origin: str, place: str) -> None:
    try:
        os.link(os.path.realpath(origin), place)
    except OSError:  # another disk
        shutil.copyfile(origin, place)
