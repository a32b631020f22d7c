"""What runs take on disk, and how their models and deleted runs are removed for good."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from ser_mlops.errors import TrackingError
from ser_mlops.tracking.names import FREED_TAG
from ser_mlops.tracking.store import one_line, tracking_uri


def bytes_on_disk(paths: Iterable[Path]) -> int:
    """Return what files and folders take, as `du` counts: whole blocks, and a file with several names once."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file() and not file.is_symlink()]
    found = {(status.st_dev, status.st_ino): status.st_blocks * 512 for status in (file.stat() for file in files)}
    return sum(found.values())


@dataclass(frozen=True)
class KeptModel:
    """A logged model whose files are there."""

    run_id: str
    model_id: str
    location: str
    num_bytes: int
    is_of_deleted_run: bool


def models_kept(client: MlflowClient, run: Run) -> list[KeptModel]:
    """Return the logged models that a run has left and that were not freed."""
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    is_deleted = run.info.lifecycle_stage != "active"
    return [
        KeptModel(run.info.run_id, model.model_id, model.artifact_location, _bytes_at(model.artifact_location), is_deleted)
        for model in models
    ]


def _bytes_at(location: str) -> int:
    store = get_artifact_repository(location)
    return bytes_on_disk([Path(store.artifact_dir)]) if isinstance(store, LocalArtifactRepository) else _listed_bytes(store, None)


def _listed_bytes(store: ArtifactRepository, folder: str | None) -> int:
    return sum(_listed_bytes(store, item.path) if item.is_dir else item.file_size or 0 for item in store.list_artifacts(folder))


def registered(client: MlflowClient) -> dict[str, str]:
    """Return run ids, model ids and locations that versions of registered models hold -> such a version, in words."""
    held: dict[str, str] = {}
    token = None
    while True:
        page = client.search_model_versions(max_results=1000, page_token=token)
        for version in page:
            name = f"{version.name} version {version.version}"
            source = version.source or ""
            held |= {key: name for key in (version.run_id, version.model_id, source.removeprefix("models:/"), source) if key}
        token = page.token
        if not token:
            return held


def free_model(client: MlflowClient, model: KeptModel) -> None:
    """Remove the files of a logged model, then the model from MLflow's lists; its run says so. A killed call is finished by the next.

    Raises:
        TrackingError: the store does not let this client delete.
    """
    if not model.is_of_deleted_run:  # which takes no tags
        client.set_tag(model.run_id, FREED_TAG, time.strftime("%Y-%m-%d"))
    store = get_artifact_repository(model.location)
    try:
        if not isinstance(store, LocalArtifactRepository) or Path(store.artifact_dir).exists():
            store.delete_artifacts()
        client.delete_logged_model(model.model_id)
    except (MlflowException, OSError, NotImplementedError) as error:
        with suppress(MlflowException, OSError):
            if not model.is_of_deleted_run and _bytes_at(model.location) == model.num_bytes:
                client.delete_tag(model.run_id, FREED_TAG)
        raise TrackingError(
            f"the model of run {model.run_id} could not be removed from {model.location} ({one_line(error, 200)}): "
            "it takes an account that may delete, or a command where the artifacts lie"
        ) from error


def deleted_runs(client: MlflowClient) -> list[Run]:
    """Return the runs of all experiments that were deleted in MLflow and are still in its store."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, "", ViewType.DELETED_ONLY, max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def artifact_bytes(run: Run) -> int:
    """Return what the artifacts of a run take, without its models."""
    return _bytes_at(run.info.artifact_uri)


def is_on_server() -> bool:
    """Say whether the store is behind a server, so that `mlflow gc` has to run there."""
    return tracking_uri().startswith("http")


def refuse_to_break(client: MlflowClient, held: Mapping[str, str]) -> None:
    """Raise TrackingError where `mlflow gc` would remove a model that the registry holds: one that was deleted in MLflow by itself."""
    for key in filter(lambda key: key.startswith("m-"), held):
        try:
            client.get_logged_model(key)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            raise TrackingError(
                f"the model of {held[key]} ({key}) was deleted in MLflow, and the files that the version is served from would go "
                "with the deleted runs: delete that version first"
            ) from error


def gc_command(database: str, run_ids: Sequence[str]) -> list[str]:
    """Return what removes deleted runs and their artifacts for good."""
    return ["mlflow", "gc", "--backend-store-uri", database, "--run-ids", ",".join(run_ids)]


def remove_for_good(run_ids: Sequence[str]) -> None:
    """Have `mlflow gc` remove deleted runs and their artifacts.

    Raises:
        TrackingError: gc failed.
    """
    command = [sys.executable, "-m", *gc_command(tracking_uri(), run_ids)]
    ended = subprocess.run(command, env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()}, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise TrackingError(f"mlflow gc failed: {last}")
