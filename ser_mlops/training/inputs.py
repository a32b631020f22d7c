"""The clips of one side, in the form that the first part of the model which is not cached takes.

Shape letters: N clips, B batch, L layers, H hidden.
"""

from collections.abc import Generator, Sequence

import numpy as np
import torch

from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.augment import Alteration
from ser_mlops.training.batching import Batch, Clips, load_batches
from ser_mlops.training.feature_norm import AnyFeatures
from ser_mlops.training.features import stage_of

IN_MEMORY_BYTES = 2 * 2**30
"""Pooled outputs up to this stay in memory as one matrix, on the device; more (500,000 clips of base size, 20,000 where the checkpoint
weights 25 layers of large size) are read from the cache batch by batch."""


class Inputs:
    """Loads batches of clips: waveforms, or outputs of the frozen part where there are any."""

    def __init__(self, classifier: EmotionClassifier, clips: Clips, features: AnyFeatures, workers: int, device: torch.device):
        self.clips = clips
        self.features = features
        self.stage = "wave" if features is None else stage_of(features.mode)
        self.prepare = classifier.prepare
        self.workers = workers
        self.device = device
        self.pooled_NLH = self._pooled(np.arange(len(clips))) if self._is_small() else None

    def batches(self, plan: Sequence[np.ndarray], alteration: Alteration | None = None) -> Generator[Batch, None, None]:
        """Yield the batches of a plan, on the device; training passes how waveforms are altered. To be closed like `load_batches`."""
        if self.stage == "pooled":
            for batch_B in plan:
                indices_B = torch.from_numpy(batch_B).to(self.device)
                values_BLH = self._pooled(batch_B) if self.pooled_NLH is None else self.pooled_NLH[indices_B]
                yield Batch(batch_B, values_BLH, torch.ones_like(indices_B))
            return

        def read(i: int) -> np.ndarray:
            if self.stage in ("cnn", "lower"):
                return self._cached(i)
            return self.prepare(self.clips.wave(i) if alteration is None else alteration(self.clips, i))

        is_cuda = self.device.type == "cuda"
        for batch in load_batches(plan, read, workers=self.workers, pin_memory=is_cuda):
            yield batch._replace(values=batch.values.to(self.device, non_blocking=True), lengths_B=batch.lengths_B.to(self.device))

    def _is_small(self) -> bool:
        return self.stage == "pooled" and len(self.clips) * self._cached(0).nbytes <= IN_MEMORY_BYTES

    def _pooled(self, indices_B: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._cached(i) for i in indices_B.tolist()])).to(self.device)

    def _cached(self, i: int) -> np.ndarray:
        assert self.features is not None
        return self.features.get(self.clips.corpora[i], int(self.clips.starts[i]))
