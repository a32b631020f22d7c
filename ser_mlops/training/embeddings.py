"""The output of every layer of an encoder, its mean over the real steps of each clip: out of the caches, or of recordings.

Layer 0 is the input of the first layer, layer K the output of the Kth, which `freeze=encoder:K` would keep. The baseline's vectors are one
layer.

Shape letters: N clips, L layers, H hidden.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features, Plan
from ser_mlops.training.features import FrozenPart
from ser_mlops.training.filling import open_caches
from ser_mlops.training.vectors import VectorSource

MEMORY_ADVICE = "CUDA_VISIBLE_DEVICES='' to embed on the CPU, or to another GPU"
LayerSource: TypeAlias = FrozenPart | VectorSource
"""What computes outputs: an encoder, or the vectors of the baseline."""


def every_layer(classifier: EmotionClassifier, device: torch.device | str) -> FrozenPart:
    """Return the source of the outputs of all layers; the classifier pools every layer from now on, whichever its head takes."""
    classifier.config.use_weighted_layer_sum = True
    return FrozenPart(classifier, "encoder", "float32", torch.device(device), MEMORY_ADVICE, may_round=False)


def shape_of(source: LayerSource) -> tuple[int, int]:
    """Return L and H of the outputs of a source."""
    return (1, *source.row_shape) if isinstance(source, VectorSource) else source.row_shape  # type: ignore[return-value]


def open_layers(source: LayerSource, corpora: Mapping[str, Path], folder: Path) -> Features:
    """Open the cached outputs of a source (corpus -> audio .npy), computing those that are not there.

    Raises:
        TrainingError: nothing can be cached.
    """
    opened = open_caches(source, corpora, folder, policy=None)
    assert opened is not None
    return opened


def outputs_of(features: Features, clips: Clips, layers: int | Sequence[int] | slice = slice(None)) -> np.ndarray:
    """Return outputs_NLH of clips, in their order; outputs_NH of one layer, of several in the order named. No other layer is read."""
    chosen = layers if isinstance(layers, int | slice) else [*layers]
    rows = (features.get(corpus, start) for corpus, start in zip(clips.corpora, clips.starts.tolist(), strict=True))
    return np.stack([np.atleast_2d(row)[chosen] for row in rows])


def outputs_of_waves(source: LayerSource, waves: Sequence[np.ndarray], layers: int | Sequence[int] | slice = slice(None)) -> np.ndarray:
    """Return the outputs of waves (int16, mono, 16 kHz), in their order, as `outputs_of` does; nothing is cached.

    A wave alone and among others differs by rounding, 5e-7.
    """
    chosen = layers if isinstance(layers, int | slice) else [*layers]
    num_samples_N = np.array([len(wave) for wave in waves], dtype=np.int64)
    order_N = np.argsort(-num_samples_N, kind="stable")
    starts_N = (np.cumsum(num_samples_N) - num_samples_N)[order_N]
    plan = Plan(Path("the recordings"), starts_N, num_samples_N[order_N], np.ones_like(order_N), digest="")
    rows = [np.frombuffer(row, np.float32).reshape(shape_of(source)) for row in source.compute(np.concatenate(waves), plan)]
    return np.stack([rows[place][chosen] for place in np.argsort(order_N)])
