"""Brings experiments that were run without a server to the tracking store in use."""

from collections.abc import Sequence
from pathlib import Path

from ser_mlops.data.progress import progress
from ser_mlops.errors import counted
from ser_mlops.experiments.exchange import models_taken, told, write_archive
from ser_mlops.settings.sharing import SyncSettings
from ser_mlops.tracking.disk import registered
from ser_mlops.tracking.exporting import Source, models_of
from ser_mlops.tracking.importing import import_experiment, staging_folder
from ser_mlops.tracking.names import IMPORTED_TAG, ORIGINAL_RUN_TAG
from ser_mlops.tracking.offline import open_offline_store
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.store import (
    OPEN_STATUSES,
    MlflowClient,
    Run,
    children_of,
    copies_of,
    find_experiment,
    open_store,
    parents_in,
    tracking_uri,
    using_store,
)
from ser_mlops.training.stopping import raising_interrupted


def conduct_offline_sync(database: Path, settings: SyncSettings, checkpoints: Path) -> None:
    """Bring the experiments of an embedded store that the store in use lacks, one after the other, each once.

    Raises:
        TrackingError: either store cannot be used.
    """
    client = open_store()
    experiment = find_experiment(client)
    assert experiment is not None
    source, experiment_id = open_offline_store(database, experiment.name)
    parents = [run for run in parents_in(source.client, experiment_id) if "commit" in run.data.tags]  # else it only says why it was refused
    open_ones = [run for run in parents if run.info.status in OPEN_STATUSES]
    unfinished = [run for run in parents if run.info.status in ("FAILED", "KILLED") and not settings.unfinished]
    brought = [run for run in parents if run not in (*open_ones, *unfinished)]
    num_new = 0
    with raising_interrupted(), staging_folder(checkpoints) as staging, progress(len(brought), "sync", "experiment") as bar:
        for parent in brought:
            if not _has_arrived(client, parent):
                num_new += _bring(client, source, parent, settings.models, staging)
            bar.update()
    if brought:
        put_opened_run_aside(_home_of(client, brought[-1]), "sync call")
    print(f"{database}: {counted(num_new, 'experiment')} brought to {tracking_uri()}, {len(brought) - num_new} there already")
    for note in _notes(source, database, brought, unfinished, open_ones):
        print(note)


def _has_arrived(client: MlflowClient, parent: Run) -> bool:
    """Whether the store in use has the copy of an experiment, as it is now; an experiment that was resumed has ended later."""
    with using_store():
        copies = copies_of(client, parent.data.tags.get(ORIGINAL_RUN_TAG, parent.info.run_id))
    return any(
        IMPORTED_TAG in copy.data.tags and (copy.info.status, copy.info.end_time) == (parent.info.status, parent.info.end_time)
        for copy in copies
    )


def _bring(client: MlflowClient, source: Source, parent: Run, models: str, staging: Path) -> bool:
    children = children_of(source.client, parent)
    kept = {run.info.run_id: models_of(source.client, run) for run in (parent, *children)}
    family = [(parent, children)]
    archive = staging / parent.info.run_id
    manifest, _ = write_archive(source, family, models_taken(source.client, family, models, kept), archive)
    arrival = import_experiment(client, archive, manifest, parent.info.run_id, staging)
    print(told(client, parent.info.run_id, arrival.run_id, is_new=arrival.is_new), flush=True)
    return arrival.is_new


def _home_of(client: MlflowClient, parent: Run) -> str:
    """Return the id that an experiment has in the store in use."""
    copies = copies_of(client, parent.data.tags.get(ORIGINAL_RUN_TAG, parent.info.run_id))
    return copies[0].info.run_id if copies else parent.info.run_id


def _notes(source: Source, database: Path, brought: Sequence[Run], unfinished: Sequence[Run], open_ones: Sequence[Run]) -> list[str]:
    """Say what was not brought."""
    notes = []
    if unfinished:
        notes.append(f"{counted(len(unfinished), 'experiment')} failed or interrupted: unfinished=true brings them, too")
    notes += [
        f"run {run.info.run_id} is {run.info.status} in {database}: sync again when it has ended (where its command died: unset "
        "MLFLOW_TRACKING_URI there, and any command closes it)"
        for run in open_ones
    ]
    versions = {version for run_id, version in registered(source.client).items() if run_id in _rounds(source, brought)}
    notes += [
        f"{version} stays in {database}: the registry of the server has its own versions (docs/sharing.md)" for version in sorted(versions)
    ]
    return notes


def _rounds(source: Source, parents: Sequence[Run]) -> set[str]:
    return {run.info.run_id for parent in parents for run in children_of(source.client, parent)}
