"""One cache: what is computed once per clip of a corpus, in a file that is whole or absent, and how it is read.

Format: NAME.npy (float32, or the upper halves of float32 for bfloat16), clips in the order of the plan, longest first; and NAME.json
beside it, written last: what the cache is of, and the SHA-256 of NAME.npy.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ser_mlops.errors import DataError
from ser_mlops.files import sha256_of

PRECISIONS = {"float32": "<f4", "bfloat16": "<u2"}

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

    def batches(self, max_samples: int, filled_up: int = 0) -> Iterator[np.ndarray]:
        """Yield clips of like length, as many as fit into `max_samples` with their padding, at least one.

        `filled_up` is the length to which every clip is filled up before it is computed.
        """
        first = 0
        while first < len(self.starts_N):
            size = max(1, max_samples // max(filled_up, int(self.num_samples_N[first])))
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
    """Return what the .json beside a cache says; nothing if it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


@dataclass(frozen=True)
class Features:
    """What is cached of some corpora."""

    mode: str
    is_per_step: bool
    """Whether a clip has a row per step instead of one."""
    caches: Mapping[str, Cache]
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def get(self, corpus: str, start: int) -> np.ndarray:
        """Return what is cached of the clip that begins at a sample of the corpus's audio file: float32, one row, or T x C per step."""
        if corpus not in self._rows:
            self._rows[corpus] = np.load(self.caches[corpus].path, mmap_mode="r")
        rows = self._rows[corpus][self.caches[corpus].plan.find(start)]
        rows = (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows
        return rows if self.is_per_step else rows[0]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: a worker process opens its own instead of being sent the bytes."""
        return {"mode": self.mode, "is_per_step": self.is_per_step, "caches": self.caches, "_rows": {}}
