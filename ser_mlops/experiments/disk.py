"""What takes disk space, by experiment, and how it is freed: never what the registry holds or a running experiment needs."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_mlops.errors import SettingsError, TrackingError, counted, one_of
from ser_mlops.files import remove, size_in_words
from ser_mlops.serving.champion import best_round
from ser_mlops.settings.sections import PathsSettings
from ser_mlops.tracking.disk import (
    KeptModel,
    artifact_bytes,
    bytes_on_disk,
    deleted_runs,
    free_model,
    gc_command,
    is_on_server,
    models_kept,
    refuse_to_break,
    registered,
    remove_for_good,
)
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.recovery import IN_USE, has_died
from ser_mlops.tracking.store import (
    OPEN_STATUSES,
    MlflowClient,
    Run,
    child_key,
    children_of,
    find_run,
    open_store,
    parent_id_of,
    parents_of,
    tracking_uri,
    using_store,
)

KINDS = ("models", "checkpoints", "deleted")


@dataclass(frozen=True)
class Loss:
    """What would be freed, in words, what is lost with it, and how."""

    text: str
    num_bytes: int
    models: tuple[KeptModel, ...] = ()
    folder: Path | None = None
    deleted: tuple[str, ...] = ()

    def free(self, client: MlflowClient) -> None:
        for model in self.models:
            free_model(client, model)
        if self.folder is not None:
            remove(self.folder)
        if self.deleted:
            remove_for_good(self.deleted)


def listing(paths: PathsSettings) -> str:
    """Return what takes space, one line each: experiments first, then what is of no single one."""
    client, checkpoints = open_store(), Path(paths.checkpoints)
    lines = []
    for parent in parents_of(client):
        models = [model for run in (parent, *children_of(client, parent)) for model in models_kept(client, run)]
        states = bytes_on_disk([checkpoints / parent.info.run_id])
        if models or states:
            size = size_in_words(sum(model.num_bytes for model in models))
            lines.append(
                f"{parent.info.run_id}  {parent.info.status:<9}  models {size} ({len(models)})  "
                f"checkpoints {size_in_words(states)}  {parent.info.run_name}"
            )
    deleted, dvc_cache = deleted_runs(client), _dvc_cache()
    lines += [
        f"deleted runs   {size_in_words(_deleted_bytes(client, deleted))} ({len(deleted)}): free deleted",
        f"caches         {size_in_words(bytes_on_disk([Path(paths.cache)]))} in {paths.cache}: python -m pipelines.cache clear",
        f"DVC's cache    {size_in_words(bytes_on_disk([dvc_cache]))} in {dvc_cache}: dvc gc --workspace",
        f"outboxes       {size_in_words(bytes_on_disk([checkpoints / OUTBOX]))} in {checkpoints / OUTBOX}: results on their way to MLflow",
    ]
    return "\n".join(lines)


def _dvc_cache() -> Path:
    """Return the folder of DVC's cache, which may be shared and lie elsewhere."""
    asked = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=False)
    return Path(asked.stdout.strip() or ".dvc/cache")


def losses(names: Sequence[str], keep: str, paths: PathsSettings) -> list[Loss]:
    """Return what is lost if what is named is freed: models:RUN_ID, checkpoints:RUN_ID or deleted.

    Raises:
        SettingsError: no such thing can be freed.
        TrackingError: there is no such experiment, or it is running.
    """
    client = open_store()
    return [_loss(client, name, keep, Path(paths.checkpoints)) for name in dict.fromkeys(names)]


def _loss(client: MlflowClient, name: str, keep: str, checkpoints: Path) -> Loss:
    kind, _, run_id = name.partition(":")
    if kind not in KINDS:
        raise SettingsError(one_of("thing to free", name, ("models:RUN_ID", "checkpoints:RUN_ID", "deleted")))
    if (kind == "deleted") == bool(run_id):
        raise SettingsError(f"{name}: expected models:RUN_ID, checkpoints:RUN_ID or deleted")
    if kind == "deleted":
        return _deleted_loss(client)
    parent = find_run(client, run_id)
    if owner := parent_id_of(parent):
        raise TrackingError(f"run {run_id} is one round of experiment {owner}: give the id of that experiment")
    _refuse_running(client, parent, checkpoints)
    return models_loss(client, parent, keep) if kind == "models" else _checkpoints_loss(parent, checkpoints)


def _refuse_running(client: MlflowClient, parent: Run, checkpoints: Path) -> None:
    lock = checkpoints / parent.info.run_id / IN_USE
    is_open = any(run.info.status in OPEN_STATUSES for run in (parent, *children_of(client, parent)))
    if is_open or (lock.exists() and not has_died(lock)):
        raise TrackingError(f"run {parent.info.run_id} is running or waits to be resumed by a job: nothing of it is freed before it ends")


def models_loss(client: MlflowClient, parent: Run, keep: str) -> Loss:
    """Return the models of an experiment's rounds, and their ensemble, that can go; `keep` is none, or best (on validation)."""
    held, run_id = registered(client), parent.info.run_id
    children = children_of(client, parent)
    models = [model for run in (parent, *children) for model in models_kept(client, run)]
    best = best_round(client, parent) if keep == "best" and models else None
    names = {run_id: "the ensemble"} | {run.info.run_id: child_key(run) for run in children}
    stays, goes = [], []
    for model in models:
        version = held.get(model.run_id) or held.get(model.model_id) or held.get(model.location)
        if version:
            stays.append(f"{names[model.run_id]} stays: the registry holds it ({version})")
        elif best is not None and best.info.run_id == model.run_id:
            stays.append(f"{names[model.run_id]} stays: validation likes it best")
        else:
            goes.append(model)
    size = sum(model.num_bytes for model in goes)
    lost = "those rounds can no longer predict, be served or be registered"
    text = f"{counted(len(goes), 'model')} of {run_id}, {size_in_words(size)}: {lost}" if goes else f"no models of {run_id} to free"
    return Loss("\n  ".join([text, *stays]), size, models=tuple(goes))


def keep_models(parent_id: str, keep: str) -> str:
    """Free the models of a finished experiment but those to keep; return what was done, or why not: it fails no experiment."""
    try:
        with using_store():
            client = open_store()
            loss = models_loss(client, find_run(client, parent_id), keep)
            loss.free(client)
    except TrackingError as error:
        return f"keep={keep}: models stay, as {error}; later: python -m pipelines.space free models:{parent_id} --keep {keep} --yes"
    return f"keep={keep}: {'freed ' if loss.models else ''}{loss.text}"


def _checkpoints_loss(parent: Run, checkpoints: Path) -> Loss:
    folder = checkpoints / parent.info.run_id
    size = bytes_on_disk([folder])
    if not size:
        return Loss(f"no checkpoints of {parent.info.run_id} to free", 0)
    is_resumable = parent.info.status != "FINISHED"
    lost = "a resume trains its unfinished rounds from the beginning" if is_resumable else "nothing is lost, the experiment is finished"
    return Loss(f"checkpoints of {parent.info.run_id}, {size_in_words(size)}: {lost}", size, folder=folder)


def _deleted_loss(client: MlflowClient) -> Loss:
    """Return the deleted runs that can go; of those of a server the models alone, as the rest is removed on its machine."""
    held = registered(client)
    refuse_to_break(client, held)
    runs = deleted_runs(client)
    kept = {run.info.run_id: models_kept(client, run) for run in runs}
    goes = [
        run
        for run in runs
        if not ({run.info.run_id, *(key for model in kept[run.info.run_id] for key in (model.model_id, model.location))} & held.keys())
    ]
    models, run_ids = tuple(model for run in goes for model in kept[run.info.run_id]), tuple(run.info.run_id for run in goes)
    size, which = sum(model.num_bytes for model in models), counted(len(goes), "deleted run")
    if not goes:
        text = "no deleted runs to free"
    elif is_on_server():
        text = f"{counted(len(models), 'model')} of {which}, {size_in_words(size)}: those runs can only be restored without models"
        command = " ".join(gc_command("ITS_DATABASE", run_ids))
        text += f"\n  the runs themselves are removed on the server's machine: MLFLOW_TRACKING_URI={tracking_uri()} {command}"
    else:
        size += sum(map(artifact_bytes, goes))
        text = f"{which}, {size_in_words(size)}: they can no longer be restored"
    if len(goes) < len(runs):
        text += f"\n  {counted(len(runs) - len(goes), 'deleted run')} kept: the registry holds a model of each"
    return Loss(text, size, models=models, deleted=() if is_on_server() else run_ids)


def _deleted_bytes(client: MlflowClient, runs: Iterable[Run]) -> int:
    return sum(artifact_bytes(run) + sum(model.num_bytes for model in models_kept(client, run)) for run in runs)


def free(found: Sequence[Loss]) -> int:
    """Free what was named; return how many bytes that were."""
    client = open_store()
    for loss in found:
        loss.free(client)
    return sum(loss.num_bytes for loss in found)
