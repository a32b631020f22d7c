"""Small synthetic clips, tiny models, a recipe whose every extra is off, and rounds made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForAudioClassification

from ser_mlops.models.build import load_classifier
from ser_mlops.seeds import rng
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.features import open_features
from ser_mlops.training.fit import fit_round
from ser_mlops.training.recipe import Recipe
from ser_mlops.training.round import Fitted, Round

PLAIN = Recipe(
    freeze="none",
    epochs=2,
    lr=1e-3,
    layers="checkpoint",
    adapter="none",
    lora_rank=8,
    lora_alpha=16.0,
    lora_dropout=0.0,
    lora_targets=("feed_forward",),
    head_lr=None,
    layer_decay=1.0,
    weight_decay=0.005,
    decay_all=True,
    batch_size=2,
    eval_batch_size=4,
    attention_mask=True,
    select_by="uar",
    schedule="constant",
    warmup=0.0,
    accumulate=1,
    clip_norm=None,
    targets="hard",
    votes_prior=0.0,
    loss="cross_entropy",
    focal_gamma=2.0,
    logit_tau=1.0,
    sample="natural",
    class_weights="none",
    label_smoothing=0.0,
    feature_norm="none",
    augment=(),
    early_stopping=None,
    precision="auto",
    gradient_checkpointing=False,
    max_seconds=None,
    evaluate_long="whole",
)


def recipe(**changes: Any) -> Recipe:
    return replace(PLAIN, **changes)


def make_clips(folder: Path, num_clips: int = 12, corpus: str = "TOY", seconds: tuple[float, float] = (0.1, 0.4), seed: int = 1) -> Clips:
    """Write an audio file of synthetic tones, whose pitch tells the emotion, with its index; return its clips."""
    random = rng(seed, corpus)
    lengths = random.integers(int(seconds[0] * 16000), int(seconds[1] * 16000), num_clips, endpoint=True)
    labels = np.arange(num_clips) % 3
    waves = [
        (8000 * np.sin(2 * np.pi * (200 + 300 * label) * np.arange(length) / 16000) + random.normal(0, 500, length)).astype(np.int16)
        for length, label in zip(lengths, labels, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{corpus}.npy", np.concatenate(waves))
    frame = pd.DataFrame(
        {
            "corpus": corpus,
            "path": [f"{corpus}/{i:03d}.wav" for i in range(num_clips)],
            "speaker": [f"{corpus}/{i % 2}" for i in range(num_clips)],
            "start": np.cumsum(lengths) - lengths,
            "num_samples": lengths,
            "labels": labels,
            "sha256": [sha256(wave.tobytes()).hexdigest() for wave in waves],
            "defect": "",
        }
    )
    frame.to_parquet(folder / f"{corpus}.parquet")
    return Clips.from_frame(frame, folder)


def make_noisy_model(folder: Path) -> str:
    """Save a tiny model that draws random numbers wherever a HuBERT can while it is trained; return its folder."""
    tiny = load_classifier("tiny", seed=1)
    config = tiny.config
    for kind in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"):
        setattr(config, kind, 0.2)
    config.layerdrop, config.apply_spec_augment, config.mask_time_prob, config.mask_time_length = 0.3, True, 0.3, 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    tiny.extractor.save_pretrained(folder)
    return str(folder)


class Recorded:
    """A recorder that keeps what is recorded, and leaves out what it already has."""

    def __init__(self) -> None:
        self.epochs: dict[int, Mapping[str, float]] = {}

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch not in self.epochs:
            assert epoch == len(self.epochs) + 1
            self.epochs[epoch] = dict(metrics)


@dataclass
class Setup:
    """A round that tests change bit by bit."""

    folder: Path
    train: Clips
    validation: Clips
    model: str = "tiny"
    seed: int = 1
    round: int = 0
    features: Features | None = None
    identity: dict[str, str] = field(default_factory=dict)
    recorded: Recorded = field(default_factory=Recorded)

    def fit(self, checkpoints: str = "round", workers: int = 0, checkpoint_every: int = 0, **changes: Any) -> Fitted:
        whole = Round(
            model=self.model,
            recipe=recipe(**changes),
            train=self.train,
            validation=self.validation,
            seed=self.seed,
            number=self.round,
            features=self.features,
            identity=self.identity,
        )
        return fit_round(whole, self.folder / checkpoints, self.recorded, workers=workers, checkpoint_every=checkpoint_every)

    def hear(self) -> None:
        """Give every clip the votes of three listeners, of whom one agrees with its label, as its target."""
        random = rng(self.seed, "votes")
        for side, clips in (("train", self.train), ("validation", self.validation)):
            votes_NE = np.eye(7)[clips.labels] + random.multinomial(2, np.full(7, 1 / 7), len(clips))
            setattr(self, side, replace(clips, targets=votes_NE / 3))

    def cache(self, mode: str) -> Features:
        classifier = load_classifier(self.model, seed=1)
        features = open_features(classifier, mode, self.train.audio, self.folder / "cache", "float32", "require", "cpu")
        assert features is not None
        return features


def make_setup(folder: Path, num_train: int = 12, num_validation: int = 6, **changes: Any) -> Setup:
    clips = make_clips(folder / "audio", num_train + num_validation)
    return Setup(folder, clips.take(np.arange(num_train)), clips.take(np.arange(num_train, len(clips))), **changes)


def weights_of(fitted: Fitted) -> dict[str, bytes]:
    return {name: weight.detach().numpy().tobytes() for name, weight in fitted.classifier.state_dict().items()}


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Leave out the one metric that differs from run to run."""
    return [{name: value for name, value in metrics.items() if name != "seconds"} for metrics in history]
