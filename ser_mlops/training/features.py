"""Outputs of the frozen part of a model, computed once and kept on disk: one file per corpus, weights, mode and precision.

`encoder`: the mean over valid steps of the encoder's output (of every layer, where the checkpoint weights its layers), one
row of L x H per clip; projector and mean are both linear, so the head needs no more. `feature_encoder`: the CNN's output, T rows of C
per clip. A cache is filled whole, over every usable clip of the corpus's audio file, in one fixed plan of batches, so that its bytes do
not depend on who asked first: the same clip alone and in a batch differs by 5e-7 in float32.

Format: NAME.npy (float32, or the upper halves of float32 for bfloat16), clips in the order of the plan, longest first; and NAME.json
beside it, written last: what the cache is of, and the SHA-256 of NAME.npy.
"""

import copy
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
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ser_mlops.errors import DataError, SettingsError, TrainingError, one_of
from ser_mlops.files import DISK_FULL, replacing, sha256_of, write_text
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.memory import advising

FORMAT = 2
"""Part of every key: caches of another version of this module are not read."""
STAGES = {"encoder": "pooled", "feature_encoder": "cnn"}
"""Mode -> the stage of EmotionClassifier that goes on from its values."""
PRECISIONS = {"float32": "<f4", "bfloat16": "<u2"}
POLICIES = ("auto", "require", "off")
BATCH_SAMPLES = {"cpu": 16 * 16000, "cuda": 120 * 16000}
"""Padded samples of a batch: cores are busy with 16 s, a GPU with 120 s (3 GB in the CNN)."""
HASHED_AT_ONCE = 10_000
"""Clips whose hashes are held as Python strings at a time."""
MEMORY_ADVICE = "set cache_precision=bfloat16, or max_seconds with evaluate_long=windows, which crops long clips and goes without cache"
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
    """Return what stands in the .json beside a cache; nothing if it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


@dataclass(frozen=True)
class Features:
    """Cached outputs of some corpora."""

    mode: str
    caches: Mapping[str, Cache]
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def stage(self) -> str:
        """The stage of EmotionClassifier that goes on from here."""
        return STAGES[self.mode]

    def get(self, corpus: str, start: int) -> np.ndarray:
        """Return the outputs for the clip that begins at a sample of the corpus's audio file: float32, L x H or T x C."""
        if corpus not in self._rows:
            self._rows[corpus] = np.load(self.caches[corpus].path, mmap_mode="r")
        rows = self._rows[corpus][self.caches[corpus].plan.find(start)]
        rows = (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows
        return rows[0] if self.mode == "encoder" else rows

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: a worker process opens its own instead of being sent the bytes."""
        return {"mode": self.mode, "caches": self.caches, "_rows": {}}


def open_features(
    classifier: EmotionClassifier,
    mode: str,
    corpora: Mapping[str, Path],
    folder: Path,
    precision: str,
    policy: str,
    device: torch.device | str,
) -> Features | None:
    """Open the caches of some corpora (name -> audio .npy, its index beside it), filling those that are not there.

    Returns None, and says why, where nothing can be cached: `policy` is off, the model works without attention mask (its outputs
    depend on the padding), or the disk is too small and `policy` is auto.

    Raises:
        TrainingError: `policy` is require and nothing can be cached, raised before anything is computed; or memory ran out.
    """
    for kind, value, accepted in (("cached part", mode, STAGES), ("cache precision", precision, PRECISIONS), ("cache", policy, POLICIES)):
        if value not in accepted:
            raise SettingsError(one_of(kind, value, accepted))
    if policy == "off":
        return None
    device = torch.device(device)
    weights = classifier.digest(mode)
    caches = {corpus: _describe(corpus, audio, classifier, weights, mode, folder, precision, device) for corpus, audio in corpora.items()}
    obstacle = _obstacle(classifier, [cache for cache in caches.values() if not cache.label.is_file()], folder)
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
                    _fill(cache, classifier, mode, device)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            obstacle = f"{folder} is full ({error.strerror}), the cache needs {cache.num_bytes / 1e9:.1f} GB"
            break
    if not obstacle:
        return Features(mode, caches)
    if policy == "require":
        raise TrainingError(f"cache=require: {obstacle}")
    log.warning("computed without cache: %s", obstacle)
    return None


def look_ahead(
    classifier: EmotionClassifier, mode: str, corpora: Mapping[str, Path], folder: Path, precision: str, device: torch.device
) -> tuple[list[str], str]:
    """Return, of what `open_features` is to open, the corpora whose caches are not there yet, and why they cannot be made, if so."""
    weights = classifier.digest(mode)
    caches = [_describe(corpus, audio, classifier, weights, mode, folder, precision, device) for corpus, audio in corpora.items()]
    absent = [cache for cache in caches if not (cache.label.is_file() and cache.path.is_file())]
    return [str(cache.what["corpus"]) for cache in absent], _obstacle(classifier, absent, folder)


def _describe(
    corpus: str, audio: Path, classifier: EmotionClassifier, weights: str, mode: str, folder: Path, precision: str, device: torch.device
) -> Cache:
    plan = _plan(audio, classifier, mode)
    what = {
        "corpus": corpus,
        "mode": mode,
        "precision": precision,
        "weights": weights,
        "audio": plan.digest,
        "normalised": bool(classifier.extractor.do_normalize),
        "device": device.type,
        "format": FORMAT,
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    return Cache(folder / f"{corpus}-{mode}-{precision}-{key}.npy", plan, classifier.cached_shape(mode), precision, what)


def _plan(audio: Path, classifier: EmotionClassifier, mode: str) -> Plan:
    index = pd.read_parquet(audio.with_suffix(".parquet"), columns=["start", "num_samples", "sha256", "defect"])
    index = index[index["defect"] == ""].sort_values(["num_samples", "start"], ascending=[False, True])
    if index.empty:
        raise DataError(f"{audio}: no usable clips")
    starts_N, num_samples_N = index["start"].to_numpy(np.int64), index["num_samples"].to_numpy(np.int64)
    steps_N = classifier.num_steps(torch.from_numpy(num_samples_N.copy())).numpy()
    digest = hashlib.sha256(starts_N.tobytes() + num_samples_N.tobytes())
    for first in range(0, len(index), HASHED_AT_ONCE):
        digest.update("".join(index["sha256"].iloc[first : first + HASHED_AT_ONCE]).encode())
    return Plan(audio, starts_N, num_samples_N, np.ones_like(steps_N) if mode == "encoder" else steps_N, digest.hexdigest())


def _obstacle(classifier: EmotionClassifier, absent: list[Cache], folder: Path) -> str:
    """Return why nothing can be cached, as far as that can be known before the work; empty if it can."""
    if not classifier.attention_mask:
        return "without attention mask the outputs depend on the padding (attention_mask=false)"
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


def _fill(cache: Cache, classifier: EmotionClassifier, mode: str, device: torch.device) -> None:
    """Compute all outputs, writing them as they come: memory holds one batch."""
    wave_S = np.load(cache.plan.audio, mmap_mode="r")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": PRECISIONS[cache.precision], "fortran_order": False, "shape": cache.shape})
    digest = hashlib.sha256(header.getvalue())
    seconds = cache.plan.num_samples_N.sum() / 16000
    bar = tqdm(total=round(seconds), desc=f"{cache.what['corpus']}: {mode}, once", unit="s", disable=None)
    with (
        advising(f"computing the outputs of the frozen part for {cache.what['corpus']}", MEMORY_ADVICE),
        replacing(cache.path) as aside,
        aside.open("wb") as file,
        bar,
        _evaluating(classifier, cache.precision, device) as runner,
    ):
        file.write(header.getvalue())
        for batch in cache.plan.batches(BATCH_SAMPLES.get(device.type, BATCH_SAMPLES["cpu"])):
            places = zip(cache.plan.starts_N[batch], cache.plan.num_samples_N[batch], strict=True)
            waves = [runner.prepare(wave_S[start : start + number]) for start, number in places]
            for rows in _outputs(runner, mode, waves, device):
                file.write(rows)
                digest.update(rows)
            bar.update(round(sum(map(len, waves)) / 16000))
    label = {**cache.what, "clips": len(cache.plan.starts_N), "seconds": round(float(seconds), 1), "sha256": digest.hexdigest()}
    write_text(cache.label, json.dumps(label, indent=1) + "\n")


@contextmanager
def _evaluating(classifier: EmotionClassifier, precision: str, device: torch.device) -> Iterator[EmotionClassifier]:
    """Yield the classifier in eval mode, or for bfloat16 a copy of that type: autocast would convert the weights in every batch."""
    if precision == "bfloat16":
        yield copy.deepcopy(classifier).to(device, torch.bfloat16).eval()
    else:
        is_training = classifier.training
        try:
            yield classifier.to(device).eval()
        finally:
            classifier.train(is_training)


@torch.inference_mode()
def _outputs(runner: EmotionClassifier, mode: str, waves: list[np.ndarray], device: torch.device) -> list[bytes]:
    """Return the rows of each clip, as they stand in the file."""
    lengths_B = torch.tensor([len(wave) for wave in waves], device=device)
    values_BS = pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True).to(device, runner.net.dtype)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        hidden_BTC, steps_B = runner.cnn(values_BS, lengths_B)
        if mode == "encoder":
            rows = list(runner.pooled(hidden_BTC, steps_B))
        else:
            rows = [clip_TC[:steps] for clip_TC, steps in zip(hidden_BTC, steps_B.tolist(), strict=True)]
    if runner.net.dtype == torch.bfloat16:
        return [clip.to(torch.bfloat16).cpu().contiguous().view(torch.uint16).numpy().tobytes() for clip in rows]
    return [clip.cpu().numpy().tobytes() for clip in rows]


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
