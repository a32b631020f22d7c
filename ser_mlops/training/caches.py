"""Caches of what is computed once per clip: one file per corpus and kind of output, whole or absent.

A cache is filled whole, over every usable clip of the corpus's audio file, in one fixed order, so that its bytes do not depend on who
asked first. What fills it is a `Source`: the frozen part of a model, or the vectors of the baseline.

Format: NAME.npy (float32, or the upper halves of float32 for bfloat16), clips in the order of the plan, longest first; and NAME.json
beside it, written last: what the cache is of, and the SHA-256 of NAME.npy.
"""

import errno
import fcntl
import hashlib
import io
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.progress import progress
from ser_mlops.errors import DataError, SettingsError, TrainingError, one_of
from ser_mlops.files import DISK_FULL, replacing, sha256_of, write_text

FORMAT = 3
"""Part of every key: caches of another version of this module are not read."""
PER_STEP = "feature_encoder"
"""The mode whose outputs have a row per step; others have one per clip."""
PRECISIONS = {"float32": "<f4", "bfloat16": "<u2"}
POLICIES = ("auto", "require", "off")
HASHED_AT_ONCE = 10_000
"""Clips whose hashes are held as Python strings at a time."""
FREE_BYTES = 256 * 2**20
"""Left free on the disk."""

log = logging.getLogger(__name__)
_verified: set[tuple[Path, int, int]] = set()


@dataclass(frozen=True)
class Plan:
    """The usable clips of an audio file, longest first, and the rows that each one takes in a cache."""

    audio: Path
    starts_N: np.ndarray
    num_samples_N: np.ndarray
    num_rows_N: np.ndarray
    digest: str
    """Of the samples: place, length and hash of every clip."""

    @cached_property
    def first_rows_N(self) -> np.ndarray:
        return np.cumsum(self.num_rows_N) - self.num_rows_N

    @cached_property
    def by_start_N(self) -> np.ndarray:
        """The clips in the order of their places in the audio file."""
        return np.argsort(self.starts_N)

    def find(self, start: int) -> slice:
        """Return the rows of the clip that begins at a sample of the audio file.

        Raises:
            DataError: there is none.
        """
        place = int(np.searchsorted(self.starts_N, start, sorter=self.by_start_N))
        clip = self.by_start_N[place] if place < len(self.by_start_N) else -1
        if self.starts_N[clip] != start:
            raise DataError(f"{self.audio.stem}: no usable clip begins at sample {start} of {self.audio}: run `dvc repro`")
        return slice(int(self.first_rows_N[clip]), int(self.first_rows_N[clip] + self.num_rows_N[clip]))

    def batches(self, max_samples: int) -> Iterator[np.ndarray]:
        """Yield clips of like length, as many as fit into `max_samples` with their padding, at least one."""
        first = 0
        while first < len(self.starts_N):
            size = max(1, max_samples // int(self.num_samples_N[first]))
            yield np.arange(first, min(first + size, len(self.starts_N)))
            first += size


class Source(Protocol):
    """Computes what a cache holds."""

    @property
    def mode(self) -> str:
        """Name of what is computed."""

    @property
    def precision(self) -> str:
        """A key of PRECISIONS."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""

    @property
    def obstacle(self) -> str:
        """Why nothing can be cached; empty if it can."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that the rows depend on besides the samples, in JSON types."""

    def count_rows(self, num_samples_N: np.ndarray) -> np.ndarray:
        """Return the rows of clips of so many samples."""

    def compute(self, wave_S: np.ndarray, plan: Plan) -> Iterator[bytes]:
        """Yield the rows of every clip of a plan, in its order, as the file holds them; `wave_S` are all samples of the audio file."""


@dataclass(frozen=True)
class Cache:
    """One file of outputs."""

    path: Path
    plan: Plan
    row_shape: tuple[int, ...]
    precision: str
    what: Mapping[str, Any]
    """What the outputs are of; its hash is in the file's name."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.plan.num_rows_N.sum()), *self.row_shape)

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(PRECISIONS[self.precision]).itemsize

    @property
    def label(self) -> Path:
        return self.path.with_suffix(".json")

    def is_whole(self) -> bool:
        """Say whether the file is there with the bytes that were written; hashed once per process."""
        if not (self.path.is_file() and self.label.is_file()):
            return False
        state = self.path.stat()
        version = (self.path.resolve(), state.st_mtime_ns, state.st_size)
        if version not in _verified and read_label(self.label).get("sha256") == sha256_of(self.path):
            _verified.add(version)
        return version in _verified


def read_label(path: Path) -> dict[str, Any]:
    """Return what the .json beside a cache says; nothing if it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


@dataclass(frozen=True)
class Features:
    """What is cached of some corpora."""

    mode: str
    caches: Mapping[str, Cache]
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def get(self, corpus: str, start: int) -> np.ndarray:
        """Return what is cached of the clip that begins at a sample of the corpus's audio file: float32, one row, or T x C per step."""
        if corpus not in self._rows:
            self._rows[corpus] = np.load(self.caches[corpus].path, mmap_mode="r")
        rows = self._rows[corpus][self.caches[corpus].plan.find(start)]
        rows = (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows
        return rows if self.mode == PER_STEP else rows[0]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: a worker process opens its own instead of being sent the bytes."""
        return {"mode": self.mode, "caches": self.caches, "_rows": {}}


def open_caches(source: Source, corpora: Mapping[str, Path], folder: Path, policy: str) -> Features | None:
    """Open the caches of some corpora (name -> audio .npy, its index beside it), filling those that are not there.

    Returns None, and says why, where nothing can be cached: `policy` is off, the source objects, or the disk is too small and `policy`
    is auto.

    Raises:
        TrainingError: `policy` is require and nothing can be cached, raised before anything is computed; or memory ran out.
    """
    for kind, value, accepted in (("cache precision", source.precision, PRECISIONS), ("cache", policy, POLICIES)):
        if value not in accepted:
            raise SettingsError(one_of(kind, value, accepted))
    if policy == "off":
        return None
    identity = source.identity()
    caches = {corpus: _describe(corpus, audio, source, identity, folder) for corpus, audio in corpora.items()}
    obstacle = _obstacle(source, [cache for cache in caches.values() if not cache.label.is_file()], folder)
    for cache in caches.values() if not obstacle else ():
        try:
            with _locked(cache.path, fcntl.LOCK_SH):  # to hash a large one takes minutes, which many may do at once
                is_whole = cache.is_whole()
            if is_whole:
                continue
            with _locked(cache.path):
                if not cache.is_whole():
                    if cache.label.is_file():
                        log.warning("cache %s is not as it was written (truncated or altered): computed again", cache.path.name)
                    _fill(cache, source)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            obstacle = f"{folder} is full ({error.strerror}), the cache needs {cache.num_bytes / 1e9:.1f} GB"
            break
    if not obstacle:
        return Features(source.mode, caches)
    if policy == "require":
        raise TrainingError(f"cache=require: {obstacle}")
    log.warning("computed without cache: %s", obstacle)
    return None


def look_ahead(source: Source, corpora: Mapping[str, Path], folder: Path) -> tuple[list[str], str]:
    """Return, of what `open_caches` is to open, the corpora whose caches are not there yet, and why they cannot be made, if so."""
    identity = source.identity()
    caches = [_describe(corpus, audio, source, identity, folder) for corpus, audio in corpora.items()]
    absent = [cache for cache in caches if not (cache.label.is_file() and cache.path.is_file())]
    return [str(cache.what["corpus"]) for cache in absent], _obstacle(source, absent, folder)


def _describe(corpus: str, audio: Path, source: Source, identity: Mapping[str, Any], folder: Path) -> Cache:
    plan = _plan(audio, source)
    what = {
        "corpus": corpus,
        "mode": source.mode,
        "precision": source.precision,
        "audio": plan.digest,
        "format": FORMAT,
        **identity,
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    return Cache(folder / f"{corpus}-{source.mode}-{source.precision}-{key}.npy", plan, source.row_shape, source.precision, what)


def _plan(audio: Path, source: Source) -> Plan:
    index = pd.read_parquet(audio.with_suffix(".parquet"), columns=["start", "num_samples", "sha256", "defect"])
    index = index[index["defect"] == ""].sort_values(["num_samples", "start"], ascending=[False, True])
    if index.empty:
        raise DataError(f"{audio}: no usable clips")
    starts_N, num_samples_N = index["start"].to_numpy(np.int64), index["num_samples"].to_numpy(np.int64)
    digest = hashlib.sha256(starts_N.tobytes() + num_samples_N.tobytes())
    for first in range(0, len(index), HASHED_AT_ONCE):
        digest.update("".join(index["sha256"].iloc[first : first + HASHED_AT_ONCE]).encode())
    return Plan(audio, starts_N, num_samples_N, source.count_rows(num_samples_N), digest.hexdigest())


def _obstacle(source: Source, absent: list[Cache], folder: Path) -> str:
    """Return why nothing can be cached, as far as that can be known before the work; empty if it can."""
    if source.obstacle:
        return source.obstacle
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror}): set paths.cache"
    needed, free = sum(cache.num_bytes for cache in absent), shutil.disk_usage(folder).free - FREE_BYTES
    if needed > free:
        return f"the cache needs {needed / 1e9:.1f} GB, {folder} has {max(free, 0) / 1e9:.1f} GB (paths.cache; cache_precision=bfloat16)"
    return ""


@contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Let one process fill a cache (LOCK_EX) while the others wait, or several look at one (LOCK_SH)."""
    with path.with_suffix(".lock").open("w") as file:
        if not _lock(file, how | fcntl.LOCK_NB):
            log.warning("waiting for the process that fills %s", path.name)
            _lock(file, how)
        yield


def _lock(file: IO[str], how: int) -> bool:
    """Lock a file; where the file system has no locks, say so too: two may then compute the same bytes, and the later rename wins."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def _fill(cache: Cache, source: Source) -> None:
    """Compute all outputs, writing them as they come."""
    wave_S = np.load(cache.plan.audio, mmap_mode="r")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": PRECISIONS[cache.precision], "fortran_order": False, "shape": cache.shape})
    digest = hashlib.sha256(header.getvalue())
    seconds = cache.plan.num_samples_N.sum() / SAMPLE_RATE
    bar = progress(round(seconds), f"{cache.what['corpus']}: {source.mode}, once", "s of audio", unit_scale=True)
    with replacing(cache.path) as aside, aside.open("wb") as file, bar:
        file.write(header.getvalue())
        for num_samples, rows in zip(cache.plan.num_samples_N.tolist(), source.compute(wave_S, cache.plan), strict=True):
            file.write(rows)
            digest.update(rows)
            bar.update(num_samples / SAMPLE_RATE)
    label = {**cache.what, "clips": len(cache.plan.starts_N), "seconds": round(float(seconds), 1), "sha256": digest.hexdigest()}
    write_text(cache.label, json.dumps(label, indent=1) + "\n")


@dataclass(frozen=True)
class Entry:
    """What a cache folder holds under one name: a cache, or what a killed process left of one (no label)."""

    name: str
    paths: tuple[Path, ...]
    label: Mapping[str, Any]

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)


def list_caches(folder: Path) -> list[Entry]:
    """Return what a cache folder holds, by name."""
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*")):
        if found := re.fullmatch(r"\.?([^.]+)\.(npy|json|lock)(\..*\.tmp)?", path.name):
            by_name.setdefault(found[1], []).append(path)
    labels = {name: folder / f"{name}.json" for name in by_name}
    return [Entry(name, tuple(paths), read_label(labels[name]) if labels[name].is_file() else {}) for name, paths in by_name.items()]


def clear_cache(entry: Entry) -> bool:
    """Remove what is under one name, unless a process is filling it; return whether it was removed."""
    with entry.paths[0].with_name(f"{entry.name}.lock").open("w") as file:
        if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        for path in {*entry.paths, Path(file.name)}:
            path.unlink(missing_ok=True)
    return True
