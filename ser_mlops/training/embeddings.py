"""The output of every layer of an encoder, its mean over the real steps of each clip, out of the caches.

Layer 0 is the input of the first layer, layer K the output of the Kth, which `freeze=encoder:K` would keep. The baseline's vectors are one
layer.

Shape letters: N clips, L layers, H hidden.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.features import open_features

MEMORY_ADVICE = "CUDA_VISIBLE_DEVICES='' to embed on the CPU, or to another GPU"


def pool_every_layer(classifier: EmotionClassifier) -> int:
    """Make a classifier pool the output of every layer, whichever its head takes, and return their number."""
    classifier.config.use_weighted_layer_sum = True
    return classifier.cached_shape("encoder")[0]


def open_layers(classifier: EmotionClassifier, corpora: Mapping[str, Path], folder: Path, device: torch.device | str) -> Features:
    """Open the cached outputs of all layers (corpus -> audio .npy), computing those that are not there.

    Raises:
        TrainingError: nothing can be cached.
    """
    pool_every_layer(classifier)
    opened = open_features(classifier, "encoder", corpora, folder, "float32", None, device, MEMORY_ADVICE)
    assert opened is not None
    return opened


def outputs_of(features: Features, clips: Clips) -> np.ndarray:
    """Return outputs_NLH of clips, in their order."""
    return np.stack([np.atleast_2d(row) for row in _rows(features, clips)])


def layer_of(features: Features, clips: Clips, layer: int) -> np.ndarray:
    """Return the outputs_NH of one layer; no other is read."""
    return np.stack([np.atleast_2d(row)[layer] for row in _rows(features, clips)])


def _rows(features: Features, clips: Clips) -> list[np.ndarray]:
    return [features.get(corpus, start) for corpus, start in zip(clips.corpora, clips.starts.tolist(), strict=True)]
