"""How a round is trained: the settings that its numbers depend on, and what follows from them by arithmetic alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.models.adapters import Lora
from ser_mlops.training.batching import Clips


@dataclass(frozen=True)
class EvaluationRecipe:
    """How the logits of clips are computed."""

    batch_size: int
    precision: str = "float32"
    max_samples: int | None = None
    evaluate_long: str = "whole"


@dataclass(frozen=True)
class Recipe:
    """The settings of `train` that the engine computes with, under the same names; TrainSettings says what each means."""

    freeze: str
    epochs: int
    lr: float
    layers: str
    adapter: str
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    lora_targets: tuple[str, ...]
    head_lr: float | None
    layer_decay: float
    weight_decay: float
    decay_all: bool
    batch_size: int
    eval_batch_size: int
    attention_mask: bool
    select_by: str
    schedule: str
    warmup: float
    accumulate: int
    clip_norm: float | None
    targets: str
    votes_prior: float
    loss: str
    focal_gamma: float
    logit_tau: float
    sample: str
    class_weights: str | float
    label_smoothing: float
    feature_norm: str
    augment: tuple[str, ...]
    early_stopping: int | None
    precision: str
    gradient_checkpointing: bool
    max_seconds: float | None
    evaluate_long: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Recipe":
        """Pick the recipe's values from a mapping that holds them among others."""
        return cls(**{field.name: settings[field.name] for field in fields(cls)})

    @property
    def lora(self) -> Lora | None:
        return Lora(self.lora_rank, self.lora_alpha, self.lora_dropout, self.lora_targets) if self.adapter == "lora" else None

    @property
    def max_samples(self) -> int | None:
        return None if self.max_seconds is None else round(self.max_seconds * SAMPLE_RATE)

    @property
    def evaluation(self) -> EvaluationRecipe:
        return EvaluationRecipe(self.eval_batch_size, self.precision, self.max_samples, self.evaluate_long)

    def reads_waves(self, *sides: Clips) -> str:
        """Return why the outputs of a frozen part cannot stand in for the waveforms of these clips; empty if they can."""
        if self.freeze == "none":
            return "nothing is frozen"
        if self.augment:
            return f"augmentation ({', '.join(self.augment)}) changes the waveforms"
        if self.max_samples is not None and any((clips.num_samples > self.max_samples).any() for clips in sides):
            return f"clips longer than max_seconds={self.max_seconds:g} are cropped"
        return ""

    def peak(self, layers_above: int | None) -> float:
        """Return the learning rate that a weight has before warm-up and schedule: of the head (None), or below so many layers."""
        if layers_above is None:
            return self.lr if self.head_lr is None else self.head_lr
        return self.lr * self.layer_decay**layers_above

    def learning_rate(self, step: int, num_steps: int, peak: float | None = None) -> float:
        """Return the learning rate of an optimiser step (from 0): a linear rise over the warm-up to its peak (lr), then the schedule.

        A falling schedule would reach 0 one step after the last.
        """
        peak = self.lr if peak is None else peak
        num_warmup = math.ceil(self.warmup * num_steps)
        if step < num_warmup:
            return peak * (step + 1) / num_warmup
        progress = (step - num_warmup) / (num_steps - num_warmup)
        return peak * {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[self.schedule]

    def weigh_classes(self, counts_E: np.ndarray) -> np.ndarray:
        """Return the weight of every emotion in the loss; `counts_E` are training clips of each emotion (of soft targets, sums of shares).

        Proportional to clips of the emotion ** -exponent (none: 0, balanced: 1), so that the mean weight of a clip is 1; 0 where there are
        none.
        """
        exponent = {"none": 0.0, "balanced": 1.0}.get(str(self.class_weights), self.class_weights)
        if exponent == 0:
            return np.ones(len(counts_E))
        present_E = np.where(counts_E > 0, counts_E, 1)
        total = (counts_E / present_E**exponent).sum()
        return np.where(counts_E > 0, counts_E.sum() / (total * present_E**exponent), 0.0)
