"""Experiments that travel: written into an archive, and brought from one into the tracking store in use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.progress import progress
from ser_mlops.errors import SettingsError, TrackingError, counted
from ser_mlops.experiments.comparison import parse_tag
from ser_mlops.files import replacing, size_in_words
from ser_mlops.serving.champion import best_round
from ser_mlops.settings.sharing import ExportRunsSettings
from ser_mlops.tracking.archive import PAGE, Manifest, opened, pack, write_manifest
from ser_mlops.tracking.exporting import Source, models_of, shown_store, write_run
from ser_mlops.tracking.importing import import_experiment, staging_folder
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.store import (
    OPEN_STATUSES,
    MlflowClient,
    Run,
    children_of,
    find_run,
    open_store,
    parent_id_of,
    parents_tagged,
    tracking_uri,
    using_store,
)
from ser_mlops.training.stopping import raising_interrupted

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

Family = tuple[Run, Sequence[Run]]
"""An experiment: the parent and its children."""


def conduct_export(settings: ExportRunsSettings) -> None:
    """Write experiments into a zip or a folder, and say what stayed away.

    Raises:
        SettingsError: no experiment is named, or the output is there.
        TrackingError: one of them is running, or a round alone.
    """
    output = Path(settings.output)
    if output.exists():
        raise SettingsError(f"output={output} is there: remove it, or give another name")
    client = open_store()
    families = _chosen(client, settings.runs, settings.tag)
    kept = {run.info.run_id: models_of(client, run) for parent, children in families for run in (parent, *children)}
    taken = models_taken(client, families, settings.models, kept)
    source = Source(client, left_out=AUDIO_SUFFIXES)
    output.parent.mkdir(parents=True, exist_ok=True)
    with raising_interrupted(), replacing(output) as aside, TemporaryDirectory(dir=output.parent, prefix=".export-") as temporary:
        is_zip = output.suffix == ".zip"
        folder = Path(temporary) / "archive" if is_zip else aside
        with using_store():
            manifest, recordings = write_archive(source, families, taken, folder)
        if is_zip:
            pack(folder, aside)
    put_opened_run_aside(families[0][0].info.run_id, "export call")
    warning = " (synthetic data)" if any(parent.data.tags.get("data") == "synthetic" for parent, _ in families) else ""
    print(f"{output}{warning}: {_content(manifest)}, {size_in_words(_bytes_of(output))}")
    if left := sum(len(models) for models in kept.values()) - len(taken):
        print(f"{counted(left, 'model')} stayed away: models=all takes all, models=best the best of each experiment")
    if recordings:
        print(f"recordings stayed away, as they always do: {', '.join(recordings)}")


def _chosen(client: MlflowClient, run_ids: Sequence[str], tag: str | None) -> list[Family]:
    runs = {run.info.run_id: run for run in (find_run(client, run_id) for run_id in run_ids)}
    if tag is not None:
        runs |= {run.info.run_id: run for run in parents_tagged(client, *parse_tag(tag))}
    if not runs:
        raise SettingsError("no experiment to export: runs=ID,ID or tag=KEY=VALUE")
    for run_id, run in runs.items():
        if parent_id := parent_id_of(run):
            raise TrackingError(f"run {run_id} is one round of experiment {parent_id}: export that experiment")
        if run.info.status in OPEN_STATUSES:
            raise TrackingError(f"run {run_id} is {run.info.status}, expected an experiment that has ended")
    return [(run, children_of(client, run)) for run in runs.values()]


def models_taken(client: MlflowClient, families: Sequence[Family], choice: str, kept: "Mapping[str, Sequence[LoggedModel]]") -> set[str]:
    """Return the ids of the models to take along, of those that runs have kept."""
    if choice == "none":
        return set()
    if choice == "best":
        have = [parent for parent, children in families if any(kept[run.info.run_id] and run.info.status == "FINISHED" for run in children)]
        best = [best_round(client, parent) for parent in have]
        kept = {run.info.run_id: kept[run.info.run_id] for run in best}
    return {model.model_id for models in kept.values() for model in models}


def write_archive(source: Source, families: Sequence[Family], taken: set[str], folder: Path) -> tuple[Manifest, list[str]]:
    """Write experiments into the folder of an archive; return its manifest, and the files that stayed away."""
    away = []
    with progress(sum(1 + len(children) for _, children in families), "exporting", "run") as bar:
        for parent, children in families:
            for run in (parent, *children):
                away += [f"{run.info.run_id}/{name}" for name in write_run(source, run, folder, taken)]
                bar.update()
    store = shown_store(source.client.tracking_uri)
    (folder / PAGE).write_text(_page(families, store), encoding="utf-8")
    return write_manifest(folder, store, {parent.info.run_id: [run.info.run_id for run in children] for parent, children in families}), away


def _page(families: Sequence[Family], store: str) -> str:
    """Return the README of an archive."""
    lines = ["# Experiments in speech emotion recognition", "", f"Exported from the tracking store {store}. No recordings are in it.", ""]
    lines += ["| experiment | runs | UAR | data | commit | id |", "|---|---|---|---|---|---|"]
    for parent, children in families:
        tags = parent.data.tags
        cells = [parent.info.run_name.replace("|", "/"), str(1 + len(children)), tags.get("uar", ""), tags.get("data", "")]
        lines.append(f"| {' | '.join([*cells, tags.get('commit', '')[:12], parent.info.run_id])} |")
    return "\n".join([*lines, "", PAGE_END])


PAGE_END = """\
`runs/ID/` is one run: `run.json` has its settings, tags and times, `metrics.csv` every point of its curves, `artifacts/` its files. Of an
experiment: `settings.yaml` (every setting), `code.sha256` (the code that numbers depend on), `environment.txt` (packages). Of each round:
`predictions/test_*.parquet`, a row per tested clip with its label and its logits, from which every score follows. Tags `dvc.CORPUS` are the
MD5 of the tables of clips. `manifest.json` has the SHA-256 of every file.

In a clone of the project, this brings the experiments into a tracking store, where they are compared, laid out and reproduced as at home:

    mlflow run . -e import_runs -P archive=THIS_ARCHIVE
"""


def conduct_import(archive: str | None, checkpoints: Path) -> None:
    """Bring the experiments of an archive into the store in use.

    Raises:
        SettingsError: no archive is named.
        TrackingError: it is damaged, or the store cannot be used.
    """
    if archive is None:
        raise SettingsError("archive is not given, expected the zip or the folder that export_runs wrote")
    client = open_store()
    with raising_interrupted(), staging_folder(checkpoints) as staging, opened(Path(archive), staging / "archive") as (folder, manifest):
        arrivals = {}
        with progress(len(manifest.experiments), "importing", "experiment") as bar:
            for parent_id in manifest.experiments:
                arrivals[parent_id] = import_experiment(client, folder, manifest, parent_id, staging)
                print(told(client, parent_id, arrivals[parent_id].run_id, is_new=arrivals[parent_id].is_new), flush=True)
                bar.update()
    for arrival in [*arrivals.values()][:1]:
        put_opened_run_aside(arrival.run_id, "import call")
    print(f"{archive}: {_content(manifest)}, in {tracking_uri()}")


def told(client: MlflowClient, original_id: str, run_id: str, *, is_new: bool) -> str:
    """Say in one line what has become of an experiment."""
    run = find_run(client, run_id)
    warning = ", synthetic data" if run.data.tags.get("data") == "synthetic" else ""
    name = f"{run.info.run_name} ({run.info.status}{warning})"
    if original_id == run_id:
        return f"run {run_id} is this store's own: {name}"
    return f"run {run_id} {'now is' if is_new else 'already was'} the copy of {original_id}: {name}"


def _content(manifest: Manifest) -> str:
    runs = sum(1 + len(children) for children in manifest.experiments.values())
    return f"{counted(len(manifest.experiments), 'experiment')}, {counted(runs, 'run')}, {counted(len(manifest.files), 'file')}"


def _bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
