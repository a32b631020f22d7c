"""What the claims about models work on: synthetic clips of CREMA's lengths, HuBERT of base size with random weights, folders that vanish.

Like every claim's file, its top imports the standard library alone: it also runs in the peers' environments.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_mlops.training.batching import Clips

SEED = 19730309
LARGE: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
"""HuBERT of large size (HuB-LL), where it differs from HubertConfig's defaults, which are those of base size."""


@dataclass(frozen=True)
class Material:
    """What both sides work on."""

    folder: Path
    model: str
    train: "Clips"
    validation: "Clips"


def make_material(num_train: int, num_validation: int, geometry: Mapping[str, Any] | None = None) -> Material:
    """Write clips and a checkpoint into a folder that goes when the process ends; `geometry`: see `write_model`."""
    import numpy as np

    folder = Path(keep_folder().name)
    clips = write_clips(folder / "audio", num_train + num_validation)
    model = write_model(folder / "model", geometry)
    numbers = np.arange(len(clips))
    return Material(folder, model, clips.take(numbers[:num_train]), clips.take(numbers[num_train:]))


def write_model(folder: Path, geometry: Mapping[str, Any] | None = None) -> str:
    """Write HuBERT with random weights and a head for the seven emotions; return the folder as settings take it.

    Its size is base, but for what `geometry` says in the words of HubertConfig.
    """
    import torch
    from transformers import AutoModelForAudioClassification, HubertConfig, Wav2Vec2FeatureExtractor

    from ser_mlops.emotions import EMOTIONS, LABELS

    torch.manual_seed(SEED)
    config = HubertConfig(**(geometry or {}), id2label=dict(enumerate(EMOTIONS)), label2id=dict(LABELS))
    AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return str(folder)


_folders: list["tempfile.TemporaryDirectory[str]"] = []


def keep_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder that goes when the process ends."""
    _folders.append(tempfile.TemporaryDirectory())
    return _folders[-1]


def write_clips(folder: Path, number: int) -> "Clips":
    """Write synthetic voices as the audio stage does, of CREMA's lengths: 2.5 s on average, 1.3 to 5 s."""
    from hashlib import sha256

    import numpy as np
    import pandas as pd

    from ser_mlops.training.batching import Clips

    random = np.random.default_rng(SEED)
    lengths = (16000 * np.clip(random.normal(2.5, 0.5, number), 1.3, 5.0)).astype(int)
    waves = []
    for length in lengths:
        seconds = np.arange(length) / 16000
        voice = sum(np.sin(2 * np.pi * random.uniform(100, 200) * k * seconds) / k for k in range(1, 20))
        waves.append((2000 * voice * np.sin(2 * np.pi * 3 * seconds) ** 2 + random.normal(0, 50, length)).astype(np.int16))
    folder.mkdir()
    np.save(folder / "VOICES.npy", np.concatenate(waves))
    frame = pd.DataFrame(
        {
            "corpus": "VOICES",
            "path": [f"VOICES/{i}.wav" for i in range(number)],
            "speaker": "VOICES/1",
            "labels": np.arange(number) % 7,
            "start": np.cumsum(lengths) - lengths,
            "num_samples": lengths,
            "defect": "",
            "sha256": [sha256(wave.tobytes()).hexdigest() for wave in waves],
        }
    )
    frame.to_parquet(folder / "VOICES.parquet")
    return Clips.from_frame(frame, folder)
