"""Standardised input of a head: every number of the frozen encoder's output, less its mean and divided by its spread over some clips.

`corpus`: over the training clips. Mean and spread are constants, and `fold_into` moves them into the weights of the trained head, which
then takes the outputs as they are. Of several layers, the spread is that of the layer times that of the number, as weights can hold it.
`speaker`: over the clips that a speaker has on its side (training, validation, a test set), each number of each layer by itself. No weight
can hold that, and the clips of a test speaker are looked at before one is predicted.

Shape letters: N clips, L layers, H hidden, P size of the projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features

Moments = tuple[np.ndarray, np.ndarray]
"""Mean and spread, float64 L x H."""


@dataclass(frozen=True)
class StandardFeatures:
    """Outputs that are standardised as they are read; stands where `Features` does."""

    features: Features
    of_speaker: Mapping[tuple[str, int], str]
    """Corpus and start of a clip -> its speaker; empty where all clips have the same moments."""
    moments: Mapping[str, Moments]
    """By speaker, or under "" those of all clips."""

    @property
    def mode(self) -> str:
        return self.features.mode

    def get(self, corpus: str, start: int) -> np.ndarray:
        """Return what is cached of a clip, standardised: float32."""
        mean_LH, spread_LH = self.moments[self.of_speaker[corpus, start] if self.of_speaker else ""]
        standard_LH: np.ndarray = ((self.features.get(corpus, start) - mean_LH) / spread_LH).astype(np.float32)
        return standard_LH


AnyFeatures: TypeAlias = Features | StandardFeatures | None


def standardise(features: Features | None, norm: str, train: Clips, validation: Clips) -> tuple[AnyFeatures, AnyFeatures]:
    """Return what training and validation clips read, as `feature_norm` says."""
    if features is None or norm == "none":
        return features, features
    if norm == "speaker":
        return by_speaker(features, train), by_speaker(features, validation)
    standard = by_corpus(features, train)
    return standard, standard


def by_corpus(features: Features, train: Clips) -> StandardFeatures:
    """Return the outputs as the training clips standardise them."""
    mean_LH, spread_LH = _moments(features, train, np.arange(len(train)))
    layer_L1 = np.sqrt((spread_LH**2).mean(axis=1, keepdims=True))
    number_H = np.sqrt(((spread_LH / layer_L1) ** 2).mean(axis=0))
    return StandardFeatures(features, {}, {"": (mean_LH, layer_L1 * number_H)})


def by_speaker(features: Features, clips: Clips) -> StandardFeatures:
    """Return the outputs of some clips as those of the same speaker among them standardise them."""
    speakers = dict.fromkeys(clips.speakers.tolist())
    moments = {speaker: _moments(features, clips, np.flatnonzero(clips.speakers == speaker)) for speaker in speakers}
    owners = zip(clips.corpora.tolist(), clips.starts.tolist(), clips.speakers.tolist(), strict=True)
    return StandardFeatures(features, {(corpus, start): speaker for corpus, start, speaker in owners}, moments)


def _moments(features: Features, clips: Clips, chosen: np.ndarray) -> Moments:
    """Return mean and standard deviation over clips, one clip at a time; a number that never varies has a spread of 1."""
    values = (features.get(clips.corpora[i], int(clips.starts[i])).astype(np.float64) for i in chosen.tolist())
    first_LH = next(values)
    mean_LH, squares_LH = first_LH, np.zeros_like(first_LH)
    for count, value_LH in enumerate(values, start=2):  # Welford's update
        change_LH = value_LH - mean_LH
        mean_LH = mean_LH + change_LH / count
        squares_LH = squares_LH + change_LH * (value_LH - mean_LH)
    spread_LH = np.sqrt(squares_LH / len(chosen))
    return mean_LH, np.where(spread_LH > 0, spread_LH, 1.0)


@torch.no_grad()
def fold_into(classifier: EmotionClassifier, standard: AnyFeatures) -> None:
    """Move mean and spread into the head, which then gives the same logits for outputs that are not standardised.

    With weights w of layers, spreads s of layers and t of numbers, projector W x + b: the sum over layers of w (x - mean) / (s t) is
    z / t times that with weights w / (s z), z being the sum of w / s, less a constant.
    """
    assert isinstance(standard, StandardFeatures)
    mean_LH, spread_LH = (torch.from_numpy(each) for each in standard.moments[""])
    net, projector = classifier.net, classifier.net.projector
    layer_L = spread_LH.square().mean(dim=1).sqrt()
    number_H = spread_LH[0] / layer_L[0]
    weights_L = torch.ones(1, dtype=torch.float64)
    if classifier.weighs_layers:
        device = net.layer_weights.device
        weights_L = net.layer_weights.double().softmax(dim=0).cpu() / layer_L
        net.layer_weights.copy_((net.layer_weights.double() - layer_L.log().to(device)).float())
    else:
        weights_L = weights_L / layer_L
    total = weights_L.sum()
    weight_PH = projector.weight.double().cpu() / number_H
    constant_H = (weights_L[:, None] * mean_LH).sum(dim=0)
    projector.bias.copy_((projector.bias.double().cpu() - weight_PH @ constant_H).float())
    projector.weight.copy_((weight_PH * total).float())
