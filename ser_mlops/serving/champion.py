"""Finds models by their URI, and makes the best round of an experiment, or the ensemble of its rounds, a version of a registered model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from ser_mlops.emotions import SEVEN, Space
from ser_mlops.errors import ModelError, SettingsError, TrackingError
from ser_mlops.scores.metrics import is_better
from ser_mlops.scores.summary import NO_INTERVAL
from ser_mlops.scores.tables import points, points_between
from ser_mlops.serving.predictor import FOLDER_KEY, MODEL_FOLDERS, NETWORK_FOLDER, weights_in
from ser_mlops.tracking.names import EMOTIONS_TAG, ENSEMBLE_TAG, FREED_TAG
from ser_mlops.tracking.store import PREDICTIONS_FOLDER, children_of, find_run, open_store, parent_id_of, read_artifact, space_of

if TYPE_CHECKING:
    from ser_mlops.serving.pyfunc import Limits

CHAMPION = "champion"
"""The alias of the version that is served."""
UNKNOWN_CODES = frozenset(map(ErrorCode.Name, (INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST)))
"""Error codes of stores that have no such model, or no such alias of it."""
KEPT_TAGS: tuple[str, ...] = ("data", "model", "test_dataset", "split", EMOTIONS_TAG)
"""Tags of a round that are copied to its version."""
ENSEMBLE_TABLES = "ensemble"
"""Folder of an experiment's artifacts with the prediction tables of the ensemble that was made a model."""


@contextmanager
def fetched(model_uri: str, within: Path | None = None) -> Iterator[Path]:
    """Yield the folder, opened by plain transformers, of a model: a copy in a temporary folder, where wanted `within` another one.

    `model_uri` is models:/NAME@ALIAS or another URI of MLflow's registry, the id of a round, of an experiment (then its best round), or a
    folder, either a whole logged model or the transformers folder in it.

    Raises:
        ModelError: there is none.
        TrackingError: there is no such run.
    """
    place = Path(model_uri)
    if place.is_dir():
        yield weights_in(place)
        return
    with TemporaryDirectory(dir=within) as folder:
        yield _download(model_uri, _model_folder(model_uri), folder)


def limits_of(model_uri: str) -> "Limits | None":
    """Return the limits of a request to a model, named as for `fetched`; None for a plain folder of weights, which has none.

    Raises:
        ModelError: there is no such model.
        TrackingError: there is no such run.
    """
    place = Path(model_uri)
    if place.is_dir():
        logged = place.resolve().parent if place.resolve().name in MODEL_FOLDERS else place
        return _limits_in(logged / MLMODEL_FILE_NAME) if (logged / MLMODEL_FILE_NAME).is_file() else None
    with TemporaryDirectory() as folder:
        return _limits_in(_download(model_uri, MLMODEL_FILE_NAME, folder))


def _limits_in(file: Path) -> "Limits":
    from ser_mlops.serving.pyfunc import Limits  # imports MLflow's servers

    return Limits(**Model.load(str(file)).flavors["python_function"]["config"])


def _model_folder(model_uri: str) -> str:
    """Return the name of the model folder in a logged model."""
    with TemporaryDirectory() as folder:
        metadata = Model.load(str(_download(model_uri, MLMODEL_FILE_NAME, folder))).metadata or {}
    return str(metadata.get(FOLDER_KEY, NETWORK_FOLDER))


def _download(model_uri: str, name: str, folder: str) -> Path:
    """Bring a file or folder of a logged model into `folder`."""
    client = open_store()
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{_location_of(client, model_uri)}/{name}", dst_path=folder))
    except (MlflowException, OSError) as error:
        raise ModelError(
            f"no model {model_uri!r} in {mlflow.get_tracking_uri()} ({' '.join(str(error).split())[:200]}), expected "
            "models:/NAME@ALIAS, models:/NAME/VERSION, a run id or a folder"
        ) from error


def _location_of(client: MlflowClient, model_uri: str) -> str:
    """Return a URI to which a file name can be appended; MLflow does not accept one after the id of a logged model."""
    if model_uri.endswith(f"@{CHAMPION}"):
        _check_champion(client, model_uri.removeprefix("models:/").removesuffix(f"@{CHAMPION}"))
    if model_uri.startswith("models:/") and not model_uri.startswith("models:/m-"):
        return model_uri
    model_id = model_uri.removeprefix("models:/") if model_uri.startswith("models:/") else model_of(client, find_run(client, model_uri))
    return client.get_logged_model(model_id).artifact_location


def _check_champion(client: MlflowClient, name: str) -> None:
    try:
        client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in UNKNOWN_CODES:
            raise ModelError(
                f"{name} has no {CHAMPION} in {mlflow.get_tracking_uri()}: register the best round of an experiment with "
                f"-P register={name}, or name a run id or a folder"
            ) from error
        raise


def model_of(client: MlflowClient, run: Run) -> str:
    """Return the id of the logged model of a round, or of the best round of an experiment."""
    own = run if parent_id_of(run) else best_round(client, run)
    refuse_freed(own)
    return models_of(own)[0]


def refuse_freed(run: Run) -> None:
    """Raise ModelError where the model of a round was removed to free space."""
    if day := run.data.tags.get(FREED_TAG):
        again = f"`mlflow run . -e reproduce -P run_id={parent_id_of(run)}` trains it again"
        raise ModelError(f"the model of run {run.info.run_id} was freed on {day}: {again}")


def models_of(run: Run) -> list[str]:
    """Return the ids of the logged models of a run."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def run_behind(client: MlflowClient, name: str) -> Run:
    """Return the run of an id, or the round whose model a URI of MLflow's registry (models:/…) names.

    Raises:
        ModelError: there is no such model.
        TrackingError: there is no such run.
    """
    if not name.startswith("models:/"):
        return find_run(client, name)
    with TemporaryDirectory() as folder:
        run_id = Model.load(str(_download(name, MLMODEL_FILE_NAME, folder))).run_id
    return find_run(client, run_id or "")


def best_round(client: MlflowClient, parent: Run) -> Run:
    """Return the round of an experiment with the best validation score, by the score that chose its epochs; the earliest of equals.

    Raises:
        TrackingError: no round of it is finished.
    """
    rounds = [run for run in children_of(client, parent) if run.info.status == "FINISHED" and models_of(run)]
    if not rounds:
        raise TrackingError(f"run {parent.info.run_id} holds no model: give the id of a finished round, or of an experiment that has one")
    score = parent.data.params["train.select_by"]
    best = rounds[0]
    for run in rounds[1:]:
        if is_better(score, run.data.metrics[f"best/val_{score}"], best.data.metrics[f"best/val_{score}"]):
            best = run
    return best


REIGNS = "it already is the champion"
REASON_TAG = "gate.reason"


@dataclass(frozen=True)
class LoggedEnsemble:
    """The ensemble of an experiment's rounds, a logged model of its parent run."""

    model_id: str
    words: str
    """3 rounds of CREMA fold 0, 1.2 MB"""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate takes the alias, and why."""

    takes_alias: bool
    reason: str


def register_best(parent_id: str, name: str, seed: int, resamples: int, ensemble: LoggedEnsemble | None = None) -> str:
    """Make the best round of a finished experiment a version of a registered model, and champion if it beats the current one.

    With `ensemble`, that is registered instead of a round. Registering the same model again creates no second version. The reason is kept
    as tags and descriptions, of the version and of the experiment, and returned as a line.

    Raises:
        SettingsError: it tells other emotions apart than the versions there are.
        TrackingError: the store cannot be used.
        ModelError: the model of the best round was freed.
    """
    try:
        client = open_store()
        parent = find_run(client, parent_id)
        best = best_round(client, parent)
        refuse_other_emotions(client, name, space_of(best))
        if ensemble is None:
            refuse_freed(best)
        candidate, model_id = (best, models_of(best)[0]) if ensemble is None else (parent, ensemble.model_id)
        tags = {tag: best.data.tags.get(tag, "") for tag in KEPT_TAGS} | ({ENSEMBLE_TAG: ensemble.words} if ensemble else {})
        version = _version_of(client, name, candidate, model_id, tags)
        champion = _champion_of(client, name)
        verdict = judge(client, candidate, version, champion, seed, resamples)
        if verdict.takes_alias:
            client.set_registered_model_alias(name, CHAMPION, version.version)
        if not (verdict.reason == REIGNS and REASON_TAG in version.tags):  # the reason why it became champion is kept
            _keep_reason(client, parent, version, verdict)
    except MlflowException as error:
        raise TrackingError(
            f"the {'ensemble' if ensemble else 'best round'} of {parent_id} could not be registered as {name} "
            f"({' '.join(str(error).split())[:200]}): try again with `mlflow run . -P resume={parent_id} -P register={name}"
            f"{' -P register_as=ensemble' if ensemble else ''}`"
        ) from error
    return _summary(version, verdict)


def refuse_other_emotions(client: MlflowClient, name: str, space: Space) -> None:
    """Raise SettingsError where versions of a registered model tell other emotions apart: who asks it expects the same answers."""
    for version in client.search_model_versions(f"name = '{name}'"):
        own = version.tags.get(EMOTIONS_TAG) or str(SEVEN)  # older versions have no such tag
        if own != str(space):
            raise SettingsError(
                f"register={name}: version {version.version} of it tells {own} apart, this experiment {space}: give another name, such as "
                f"{name}-{len(space.classes)}"
            )


def _version_of(client: MlflowClient, name: str, run: Run, model_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """Return the version that holds a model of a run, created if there is none."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Speech emotion recognition; `champion` is what to serve.")
    found = client.search_model_versions(f"name = '{name}' AND run_id = '{run.info.run_id}'")
    same = [version for version in found if (version.source or "").removeprefix("models:/") == model_id]
    return (
        same[0] if same else client.create_model_version(name, f"models:/{model_id}", run.info.run_id, tags=dict(tags), model_id=model_id)
    )


def _champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else client.get_model_version(name, str(version))


def judge(client: MlflowClient, candidate: Run, version: ModelVersion, champion: ModelVersion | None, seed: int, resamples: int) -> Verdict:
    """Decide whether a round, or an ensemble (its parent run), beats the current champion: in UAR, on the clips that both were tested on.

    The test is that of `compare`. Two models are compared here, not two settings: one round each, so the spread over rounds plays no part.
    """
    from ser_mlops.scores.comparison import HOLDS_OVER_SPEAKERS, compare  # which loads scipy.stats and statsmodels

    if champion is None:
        return Verdict(True, "there was no champion")
    if champion.run_id == version.run_id:
        return Verdict(False, REIGNS)
    try:
        reigning = find_run(client, champion.run_id or "")
        tables = {"champion": _predictions(client, reigning), "candidate": _predictions(client, candidate)}
    except TrackingError as error:
        return Verdict(False, f"the champion, version {champion.version}, cannot be compared: {error}")
    common = tables["champion"].merge(tables["candidate"], on="path")
    if common.empty:
        return Verdict(False, f"no clip was tested by both it and the champion, version {champion.version}")
    changed = [
        corpus
        for corpus in sorted({path.partition("/")[0] for path in common["path"]})
        if reigning.data.tags.get(f"dvc.{corpus}") != candidate.data.tags.get(f"dvc.{corpus}")
    ]
    if changed:
        return Verdict(False, f"the frames of {', '.join(changed)} are not those of the champion, version {champion.version}")
    compared = compare({name: [table] for name, table in tables.items()}, seed, resamples).differences
    uar = compared[compared["score"] == "uar"].iloc[0]
    beats = uar["difference"] > 0 and uar["verdict"] in HOLDS_OVER_SPEAKERS
    where = f"UAR {points(uar['difference'])} on {len(common)} clips that both were tested on"
    if np.isnan(uar["p_holm"]):
        return Verdict(False, f"not shown to beat the champion, version {champion.version}: {where}, and {uar['verdict']}")
    interval = f"95 % interval {points_between(uar['ci_low'], uar['ci_high'])}" if np.isfinite(uar["ci_low"]) else NO_INTERVAL
    outcome = "beats" if beats else "does not beat"
    return Verdict(beats, f"{outcome} the champion, version {champion.version}: {where} ({interval}, p {uar['p_holm']:.4f})")


def _predictions(client: MlflowClient, run: Run) -> pd.DataFrame:
    folder = read_artifact(client, run.info.run_id, PREDICTIONS_FOLDER if parent_id_of(run) else ENSEMBLE_TABLES)
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("test_*.parquet"))], ignore_index=True)


def _keep_reason(client: MlflowClient, parent: Run, version: ModelVersion, verdict: Verdict) -> None:
    summary, gate = _summary(version, verdict), "champion" if verdict.takes_alias or verdict.reason == REIGNS else "not champion"
    client.update_model_version(version.name, version.version, summary)
    client.set_model_version_tag(version.name, version.version, "gate", gate)
    client.set_model_version_tag(version.name, version.version, REASON_TAG, verdict.reason)
    client.set_tag(parent.info.run_id, "registered", summary)
    client.set_tag(parent.info.run_id, MLFLOW_RUN_NOTE, f"{parent.data.tags.get(MLFLOW_RUN_NOTE, '')}\n{summary}\n")


def _summary(version: ModelVersion, verdict: Verdict) -> str:
    what = f" (ensemble of {version.tags[ENSEMBLE_TAG]})" if ENSEMBLE_TAG in version.tags else ""
    if verdict.reason == REIGNS:
        return f"{version.name} version {version.version}{what}: {REIGNS}"
    outcome = f"now {CHAMPION}" if verdict.takes_alias else f"not made {CHAMPION}"
    return f"{version.name} version {version.version}{what}, {outcome}: {verdict.reason}"
