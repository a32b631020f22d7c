"""Vectors of clips for the baseline, computed once and cached like the outputs of a frozen part: one file per corpus and kind.

Every clip is described alone and in one thread, by as many processes as there are cores: the bytes depend on neither.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_mlops.models.vectors import vectors_named
from ser_mlops.settings.cores import available_cores
from ser_mlops.training.batching import Clips, load_batches
from ser_mlops.training.caches import Features, Plan
from ser_mlops.training.filling import open_caches

CLIPS_AT_ONCE = 32
"""What a process describes before it hands over."""
MIN_CLIPS_PER_WORKER = 100
"""A process takes as long to start as a hundred clips."""


@dataclass(frozen=True)
class VectorSource:
    """The source of the vectors of one kind."""

    mode: str
    """A key of VECTORS."""
    precision: str = "float32"
    obstacle: str = ""
    space_advice: str = ""

    is_per_step = False

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (vectors_named(self.mode).size,)

    def identity(self) -> Mapping[str, Any]:
        """Return what the vectors depend on: the version of what computes them."""
        return {"version": vectors_named(self.mode).version}

    def count_rows(self, num_samples_N: np.ndarray) -> np.ndarray:
        """Return one row per clip."""
        return np.ones_like(num_samples_N)

    def compute(self, wave_S: np.ndarray, plan: Plan) -> Iterator[bytes]:
        """Yield the vector of every clip."""
        describe = vectors_named(self.mode).describe

        def read(i: int) -> np.ndarray:
            return describe(wave_S[plan.starts_N[i] : plan.starts_N[i] + plan.num_samples_N[i]])

        num_clips = len(plan.starts_N)
        batches = [np.arange(first, min(first + CLIPS_AT_ONCE, num_clips)) for first in range(0, num_clips, CLIPS_AT_ONCE)]
        workers = min(available_cores(), num_clips // MIN_CLIPS_PER_WORKER)
        with closing(load_batches(batches, read, workers=workers if workers > 1 else 0, pin_memory=False)) as loaded:
            for batch in loaded:
                yield from (row.tobytes() for row in batch.values.numpy())


def open_vectors(kind: str, corpora: Mapping[str, Path], folder: Path) -> Features:
    """Open the cached vectors of some corpora (name -> audio .npy), computing those that are not there.

    Raises:
        SettingsError: what computes them is not installed.
        TrainingError: the disk is too small.
    """
    opened = open_caches(VectorSource(kind), corpora, folder, policy=None)
    assert opened is not None
    return opened


def vectors_of(vectors: Features, clips: Clips) -> np.ndarray:
    """Return vectors_ND of clips, in their order."""
    return np.stack([vectors.get(corpus, start) for corpus, start in zip(clips.corpora, clips.starts.tolist(), strict=True)])
