"""wav2vec2-BERT (w2v-BERT 2.0): conformer layers over pairs of log-mel frames; there is no CNN.

With `freeze=feature_encoder` nothing is frozen, and the log-mel steps are what is cached.

Shape letters: B batch, S samples, V = T steps, C channels (two frames of 80 bins), H hidden.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.models.families.base import Family, without_padding
from ser_mlops.models.families.wav2vec2_conformer import CONFORMER_PROJECTIONS, POSITIONS, embed_positions

WINDOW, HOP = 400, 160
"""Samples of a frame, and from one frame to the next (25 and 10 ms), which are constants in transformers."""
FRAMES = 2
"""Frames of a step."""


class Wav2Vec2Bert(Family):
    def feature_encoder(self, base: Any) -> nn.Module:
        return nn.ModuleList()

    def below_layers(self, base: Any) -> list[nn.Module]:
        positions = base.encoder.embed_positions
        return [base.feature_projection, base.encoder.dropout, *([positions] if positions else [])]

    def min_samples(self, config: Any) -> int:
        return WINDOW + (FRAMES - 1) * HOP

    def prepare(self, extractor: Any, wave_S: np.ndarray) -> np.ndarray:
        wave_S = np.pad(wave_S, (0, max(0, self.min_samples(None) - len(wave_S))))
        made = extractor(wave_S, sampling_rate=SAMPLE_RATE, return_attention_mask=True, return_tensors="np")
        steps_VC: np.ndarray = made["input_features"][0]
        return steps_VC[: int(made["attention_mask"][0].sum())]

    def normalisation(self, extractor: Any) -> str:
        return "log-mel, zero mean and unit variance of each bin in each window"

    def input_identity(self, extractor: Any) -> Any:
        return ["log-mel", extractor.num_mel_bins, extractor.stride]

    def min_values(self, config: Any) -> int:
        return 1

    def num_values(self, config: Any, samples_B: Tensor) -> Tensor:
        return ((samples_B.clamp(min=self.min_samples(config)) - WINDOW) // HOP + 1) // FRAMES

    def num_steps(self, config: Any, values_B: Tensor) -> Tensor:
        return values_B.clamp(min=1)

    def channels(self, config: Any) -> int:
        return int(config.feature_projection_input_dim)

    def cnn(self, base: Any, values_BV: Tensor, lengths_B: Tensor) -> Tensor:
        return values_BV

    def norms_at_end(self, base: Any) -> bool:
        return False

    def enter(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        entered: Tensor = base.encoder.dropout(without_padding(hidden_BTH, mask_BT))
        return entered

    def context(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> dict[str, Any]:
        positions = {"relative_position_embeddings": embed_positions(base.encoder, hidden_BTH), "conv_attention_mask": mask_BT}
        return super().context(base, hidden_BTH, mask_BT) | positions


FAMILY = Wav2Vec2Bert(
    "wav2vec2-bert",
    decisive=(
        "model_type",
        "feature_projection_input_dim",
        "hidden_act",
        "layer_norm_eps",
        "num_attention_heads",
        "use_weighted_layer_sum",
        "left_max_position_embeddings",
        "right_max_position_embeddings",
        *POSITIONS,
    ),
    projections=CONFORMER_PROJECTIONS,
    unsupported={"add_adapter": "transformers has no classifier with it"},
    layout="pairs of frames x mel bins of both",
)
