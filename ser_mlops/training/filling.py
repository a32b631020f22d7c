"""Opens the caches of corpora, and fills those that are not there.

A cache is filled whole, over every usable clip of the corpus's audio file, in one fixed order, so that its bytes do not depend on who
asked first. What fills it is a `Source`: the frozen part of a model, or the vectors of the baseline.
"""

import fcntl
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.progress import progress
from ser_mlops.errors import DataError, SettingsError, TrainingError, one_of
from ser_mlops.files import DISK_FULL, replacing, size_in_words, write_text
from ser_mlops.training.cache_folder import locked
from ser_mlops.training.caches import PRECISIONS, Cache, Features, Plan

FORMAT = 3
"""Part of every key: caches of another version of this module are not read."""
POLICIES = ("auto", "require", "off")
HASHED_AT_ONCE = 10_000
"""Clips whose hashes are held as Python strings at a time."""
FREE_BYTES = 256 * 2**20
"""Left free on the disk."""

log = logging.getLogger(__name__)


class Source(Protocol):
    """Computes what a cache holds."""

    @property
    def mode(self) -> str:
        """Name of what is computed."""

    @property
    def is_per_step(self) -> bool:
        """Whether a clip has a row per step instead of one."""

    @property
    def precision(self) -> str:
        """A key of PRECISIONS."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""

    @property
    def obstacle(self) -> str:
        """Why nothing can be cached; empty if it can."""

    @property
    def space_advice(self) -> str:
        """The setting of the command that makes a cache smaller; empty if it has none."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that the rows depend on besides the samples, in JSON types."""

    def count_rows(self, num_samples_N: np.ndarray) -> np.ndarray:
        """Return the rows of clips of so many samples."""

    def compute(self, wave_S: np.ndarray, plan: Plan) -> Iterator[bytes]:
        """Yield the rows of every clip of a plan, in its order, as the file holds them; `wave_S` are all samples of the audio file."""


def open_caches(source: Source, corpora: Mapping[str, Path], folder: Path, policy: str | None) -> Features | None:
    """Open the caches of some corpora (name -> audio .npy, its index beside it), filling those that are not there.

    `policy` is the setting `cache`; None where the caller cannot do without caches, whatever that setting says. Returns None, and says why,
    where nothing can be cached: `policy` is off, the source objects, or the disk is too small and `policy` is auto.

    Raises:
        TrainingError: `policy` is require or None and nothing can be cached, raised before anything is computed; or memory ran out.
    """
    if source.precision not in PRECISIONS:
        raise SettingsError(one_of("cache precision", source.precision, PRECISIONS))
    if policy is not None and policy not in POLICIES:
        raise SettingsError(one_of("cache", policy, POLICIES))
    if policy == "off":
        return None
    identity = source.identity()
    caches = {corpus: _describe(corpus, audio, source, identity, folder) for corpus, audio in corpora.items()}
    obstacle = _obstacle(source, [cache for cache in caches.values() if not cache.label.is_file()], folder)
    for cache in caches.values() if not obstacle else ():
        try:
            with locked(cache.path, fcntl.LOCK_SH):  # to hash a large one takes minutes, which many may do at once
                is_whole = cache.is_whole()
            if is_whole:
                continue
            with locked(cache.path):
                if not cache.is_whole():
                    if cache.label.is_file():
                        log.warning("cache %s is not as it was written (truncated or altered): computed again", cache.path.name)
                    _fill(cache, source)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            obstacle = f"{folder} is full ({error.strerror}), the cache needs {size_in_words(cache.num_bytes)}: {_more_space(source)}"
            break
    if not obstacle:
        return Features(source.mode, source.is_per_step, caches)
    if policy != "auto":
        raise TrainingError(f"cache=require: {obstacle}" if policy else obstacle)
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
    name = f"{corpus}-{source.mode.replace(':', '-')}-{source.precision}-{key}.npy"
    return Cache(folder / name, plan, source.row_shape, source.precision, what)


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
        return f"{folder} cannot be made ({error.strerror}): set paths.cache to another folder"
    needed, free = sum(cache.num_bytes for cache in absent), shutil.disk_usage(folder).free - FREE_BYTES
    if needed > free:
        return f"the cache needs {size_in_words(needed)}, {folder} has {size_in_words(max(free, 0))} free: {_more_space(source)}"
    return ""


def _more_space(source: Source) -> str:
    return "set paths.cache to a larger disk" + (f", or {source.space_advice}" if source.space_advice else "")


def _fill(cache: Cache, source: Source) -> None:
    """Compute all outputs, writing them as they come."""
    wave_S = np.load(cache.plan.audio, mmap_mode="r")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": PRECISIONS[cache.precision], "fortran_order": False, "shape": cache.shape})
    digest = hashlib.sha256(header.getvalue())
    seconds = cache.plan.num_samples_N.sum() / SAMPLE_RATE
    bar = progress(round(seconds), f"{cache.what['corpus']}: {source.mode}, once", "s of audio", "s of audio", unit_scale=True)
    with replacing(cache.path) as aside, aside.open("wb") as file, bar:
        file.write(header.getvalue())
        for num_samples, rows in zip(cache.plan.num_samples_N.tolist(), source.compute(wave_S, cache.plan), strict=True):
            file.write(rows)
            digest.update(rows)
            bar.update(num_samples / SAMPLE_RATE)
    label = {**cache.what, "clips": len(cache.plan.starts_N), "seconds": round(float(seconds), 1), "sha256": digest.hexdigest()}
    write_text(cache.label, json.dumps(label, indent=1) + "\n")
