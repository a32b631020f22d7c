"""The archive in which experiments travel: a folder, or a zip of it. Owns its format, and refuses what is damaged or unsafe.

manifest.json                      the format, the runs of each experiment, and the SHA-256 of every other file
README.md                          what is in it, for people
runs/RUN_ID/run.json               a `RunRecord`
runs/RUN_ID/metrics.csv            key, value, step, timestamp (ms since 1970); a value's text is read back as the same float
runs/RUN_ID/artifacts/…            as in MLflow
runs/RUN_ID/models/NUMBER/model/…  its logged models, in the order of `RunRecord.models`
"""

import csv
import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import Metric
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ser_mlops.errors import TrackingError
from ser_mlops.files import CHUNK_BYTES, remove, sha256_of

FORMAT = 1
MANIFEST, PAGE, RUNS = "manifest.json", "README.md", "runs"
RECORD, METRICS, ARTIFACTS_FOLDER, MODELS, MODEL = "run.json", "metrics.csv", "artifacts", "models", "model"
PACKED_SUFFIXES = frozenset({".safetensors", ".parquet", ".png", ".skops"})
"""Of files that a zip would not make smaller."""
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""Of every file in a zip: the same experiments make the same zip."""


@dataclass(frozen=True)
class DatasetRecord:
    """A dataset input of a run, as MLflow has it."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None
    tags: dict[str, str]


@dataclass(frozen=True)
class RunRecord:
    """What MLflow has of a run, but for metrics and files."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    run_id: str
    parent_id: str | None
    experiment_id: str
    name: str
    status: Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
    start_ms: int
    end_ms: int | None
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[DatasetRecord]
    models: list[str]
    """Names of the logged models that are in the archive."""


@dataclass(frozen=True)
class Manifest:
    """What an archive holds."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    format: int
    store: str
    """The tracking store that it comes from, without passwords and folders."""
    experiments: dict[str, list[str]]
    """Ids of the children by the id of their parent."""
    files: dict[str, str]
    """SHA-256 by path."""

    def digest_of(self, run_id: str) -> str:
        """Return a hash of all that the archive holds of a run, and of its children."""
        beginnings = tuple(f"{RUNS}/{each}/" for each in (run_id, *self.experiments.get(run_id, ())))
        lines = [f"{sha256}  {name}\n" for name, sha256 in sorted(self.files.items()) if name.startswith(beginnings)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def write_record(folder: Path, record: RunRecord, metrics: Iterable[Metric]) -> None:
    """Write what is known of a run into its folder of an archive."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    with (folder / METRICS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["key", "value", "step", "timestamp"])
        writer.writerows([point.key, repr(float(point.value)), point.step, point.timestamp] for point in metrics)


def read_record(archive: Path, run_id: str) -> RunRecord:
    """Return what an archive has of a run."""
    path = archive / RUNS / run_id / RECORD
    record: RunRecord = _read(RunRecord, path, f"{RUNS}/{run_id}/{RECORD}")
    if record.run_id != run_id:
        raise TrackingError(f"{RUNS}/{run_id}/{RECORD} is of run {record.run_id}: the archive is damaged")
    return record


def read_metrics(archive: Path, run_id: str) -> list[Metric]:
    """Return every point of a run's metrics."""
    path = archive / RUNS / run_id / METRICS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Metric(row["key"], float(row["value"]), int(row["timestamp"]), int(row["step"]))
                for row in csv.DictReader(file, strict=True)
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise TrackingError(f"{RUNS}/{run_id}/{METRICS} cannot be read ({error!r}): the archive is damaged") from error


def write_manifest(folder: Path, store: str, experiments: Mapping[str, Sequence[str]]) -> Manifest:
    """Make a folder whose files are all written an archive."""
    files = {name: sha256_of(folder / name) for name in sorted(_files_in(folder))}
    manifest = Manifest(FORMAT, store, {parent: [*children] for parent, children in experiments.items()}, files)
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    return manifest


def pack(folder: Path, file: Path) -> None:
    """Write an archive as a zip."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (MANIFEST, *sorted(_files_in(folder))):
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.file_size = (folder / name).stat().st_size
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix in PACKED_SUFFIXES else zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as source, packed.open(entry, "w") as destination:
                shutil.copyfileobj(source, destination, CHUNK_BYTES)


@contextmanager
def opened(archive: Path, staging: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield the folder of an archive, a zip unpacked into `staging`, and its manifest, once every file has been compared with it.

    Raises:
        TrackingError: it is none, is damaged, or holds names that lead out of it.
    """
    if archive.is_dir():
        names = _files_in(archive)
        manifest = _manifest_of(archive / MANIFEST, archive, names)
        for name, sha256 in manifest.files.items():
            _compare(archive, name, sha256_of(archive / name), sha256)
        yield archive, manifest
        return
    if not archive.exists():
        raise TrackingError(f"no archive {archive}, expected the zip or the folder that export_runs wrote")
    remove(staging)
    staging.mkdir(parents=True)
    try:
        yield staging, _unpack(archive, staging)
    finally:
        remove(staging)


def _unpack(archive: Path, staging: Path) -> Manifest:
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = {entry.filename: entry for entry in packed.infolist() if not entry.is_dir()}
            if len(entries) < sum(not entry.is_dir() for entry in packed.infolist()):
                raise TrackingError(f"{archive} holds a file twice: it is no archive of export_runs")
            for name, entry in entries.items():
                if not _is_inside(name) or stat.S_ISLNK(entry.external_attr >> 16):
                    raise TrackingError(f"{archive} holds {name!r}, which leads out of it: it is no archive of export_runs")
            if MANIFEST in entries:
                packed.extract(MANIFEST, staging)
            manifest = _manifest_of(staging / MANIFEST, archive, {*entries} - {MANIFEST})
            for name, sha256 in manifest.files.items():
                packed.extract(name, staging)
                _compare(archive, name, sha256_of(staging / name), sha256)
            return manifest
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise TrackingError(f"{archive} is damaged, or no zip: {error}") from error


def _files_in(folder: Path) -> set[str]:
    """Return the paths of the files of an archive's folder, without the manifest."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise TrackingError(f"{path} is a link, expected the files themselves")
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}


def _is_inside(name: str) -> bool:
    """Whether a path stays in the folder that it is unpacked to.

    >>> [_is_inside(name) for name in ("runs/a/run.json", "../a", "/a", "runs//a", "runs/..")]
    [True, False, False, False, False]
    """
    return "\\" not in name and "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def _manifest_of(file: Path, archive: Path, names: set[str]) -> Manifest:
    """Return the manifest of an archive with files of these names.

    Raises:
        TrackingError: there is none, a newer version wrote it, or it names other files.
    """
    if not file.is_file():
        raise TrackingError(f"{archive} has no {MANIFEST}: it is no archive of export_runs, or damaged")
    try:
        written = json.loads(file.read_bytes())["format"]
    except (ValueError, KeyError, TypeError):
        raise TrackingError(f"{archive} is damaged: {MANIFEST} says no format") from None
    if written != FORMAT:
        raise TrackingError(f"{archive} is of format {written}, expected {FORMAT}: a newer version of this project reads it")
    manifest: Manifest = _read(Manifest, file, f"{MANIFEST} of {archive}")
    for name in sorted(names ^ manifest.files.keys()):
        what = "is missing" if name in manifest.files else f"is not in {MANIFEST}"
        raise TrackingError(f"{archive} is damaged: {name} {what}")
    runs = [run_id for parent, children in manifest.experiments.items() for run_id in (parent, *children)]
    for name in [f"{RUNS}/{run_id}/{file}" for run_id in runs for file in (RECORD, METRICS)]:
        if name not in manifest.files:
            raise TrackingError(f"{archive} is damaged: {name} is missing")
    return manifest


def _compare(archive: Path, name: str, sha256: str, expected: str) -> None:
    if sha256 != expected:
        raise TrackingError(f"{archive} is damaged: {name} is not the file that was exported (its SHA-256 is {sha256[:12]}…)")


def _read(kind: Any, path: Path, name: str) -> Any:
    """Read a JSON file as a dataclass."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        raise TrackingError(f"{name} is damaged: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
