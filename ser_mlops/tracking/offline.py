"""The embedded store of experiments that were run without a server: the SQLite file of a project, or of a copy of its folder."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from ser_mlops.errors import TrackingError
from ser_mlops.tracking.address import check_address
from ser_mlops.tracking.exporting import Source
from ser_mlops.tracking.store import one_line, tracking_uri


def open_offline_store(database: Path, experiment: str) -> tuple[Source, str]:
    """Open the SQLite file of an embedded store; return it with the id of an experiment of MLflow there.

    Its files are found where they were, or beside the database, where both were copied.

    Raises:
        TrackingError: it is none, is the store in use, or holds no such experiment of MLflow.
    """
    if not database.is_file():
        raise TrackingError(f"no file {database}, expected the mlflow.db of a project, or of a copy of it with its mlruns beside")
    uri = f"sqlite:///{database.resolve()}"
    in_use = tracking_uri()
    if in_use.startswith("sqlite") and Path(in_use.removeprefix("sqlite:///")).resolve() == database.resolve():
        raise TrackingError(f"{database} is the tracking store in use: set MLFLOW_TRACKING_URI to the server that its experiments go to")
    check_address(uri)
    client = MlflowClient(uri, registry_uri=uri)
    try:
        found = client.get_experiment_by_name(experiment)
    except MlflowException as error:
        raise TrackingError(f"{database} cannot be read: {one_line(error, 300)}") from error
    if found is None:
        raise TrackingError(f"{database} has no experiment {experiment!r} of MLflow: MLFLOW_EXPERIMENT_NAME names the one that runs are in")
    root = _folder_of(found.artifact_location)

    def repository(artifact_uri: str) -> ArtifactRepository:
        folder = _folder_of(artifact_uri)
        if root is None or folder is None:  # in a storage of its own, S3 say
            return get_artifact_repository(artifact_uri)
        copied = database.resolve().parent / root.parent.name / folder.relative_to(root.parent)
        return get_artifact_repository(str(copied if copied.is_dir() else folder))

    return Source(client, repository, is_linked=True), found.experiment_id


def _folder_of(artifact_uri: str) -> Path | None:
    """Return the folder behind an artifact URI, if it is one."""
    repository = get_artifact_repository(artifact_uri)
    return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None
