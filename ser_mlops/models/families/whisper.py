"""The encoder of Whisper: every clip is 30 s of log-mel frames, filled up with silence, and all of it is averaged, as transformers does.

So a clip is never padded in a batch, and a short one costs what a long one costs. What is longer than 30 s is cut off.

Shape letters: B batch, S samples, V log-mel frames, M mel bins, T steps, C = H hidden.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.models.families.base import PROJECTIONS, Family

FRAMES = 2
"""Frames of a step: the stride of the second convolution."""
HOP = 160


class Whisper(Family):
    def base(self, net: Any) -> Any:
        return net.encoder

    def base_name(self, net: Any) -> str:
        return "encoder"

    def feature_encoder(self, base: Any) -> nn.Module:
        return nn.ModuleList([base.conv1, base.conv2])

    def below_layers(self, base: Any) -> list[nn.Module]:
        return [base.conv1, base.conv2, base.embed_positions]

    def fixed(self, base: Any) -> list[nn.Module]:
        return [base.embed_positions]

    def norms_at_end(self, base: Any) -> bool:
        return True

    def max_seconds(self, config: Any) -> float | None:
        return float(config.max_source_positions * FRAMES * HOP / SAMPLE_RATE)

    def min_samples(self, config: Any) -> int:
        return 1

    def prepare(self, extractor: Any, wave_S: np.ndarray) -> np.ndarray:
        with torch.autocast("cpu", enabled=False):  # the spectrogram is float32 in any precision
            made = extractor(wave_S, sampling_rate=SAMPLE_RATE, return_attention_mask=False, return_tensors="np")
        return np.ascontiguousarray(made["input_features"][0].T)

    def normalisation(self, extractor: Any) -> str:
        return f"log-mel of {extractor.chunk_length} s, filled up with silence"

    def input_identity(self, extractor: Any) -> Any:
        return ["log-mel", extractor.feature_size, extractor.n_fft, extractor.hop_length, extractor.chunk_length]

    def min_values(self, config: Any) -> int:
        return 1

    def num_values(self, config: Any, samples_B: Tensor) -> Tensor:
        return torch.full_like(samples_B, FRAMES * config.max_source_positions)

    def num_steps(self, config: Any, values_B: Tensor) -> Tensor:
        return values_B // FRAMES

    def channels(self, config: Any) -> int:
        return int(config.d_model)

    def cnn(self, base: Any, values_BV: Tensor, lengths_B: Tensor) -> Tensor:
        hidden_BCV = functional.gelu(base.conv1(values_BV.transpose(1, 2)))
        return functional.gelu(base.conv2(hidden_BCV)).transpose(1, 2)

    def project(self, base: Any, hidden_BTC: Tensor) -> Tensor:
        return hidden_BTC

    def augment(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        return hidden_BTH

    def enter(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        return functional.dropout(hidden_BTH + base.embed_positions.weight, p=base.dropout, training=base.layers[0].training)

    def context(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> dict[str, Any]:
        return {"attention_mask": None}

    def drops(self, base: Any, number: int) -> float:
        return float(base.layerdrop)

    def leave(self, base: Any, hidden_BTH: Tensor) -> Tensor:
        output: Tensor = base.layer_norm(hidden_BTH)
        return output


FAMILY = Whisper(
    "whisper",
    decisive=(
        "model_type",
        "activation_function",
        "encoder_attention_heads",
        "max_source_positions",
        "num_mel_bins",
        "scale_embedding",
        "use_weighted_layer_sum",
    ),
    projections=PROJECTIONS | {"feed_forward": ("fc1", "fc2")},
    layers_name="layers",
    norms_last_state=True,
    layout="frames x mel bins (transformers' feature extractor returns mel bins x frames)",
)
