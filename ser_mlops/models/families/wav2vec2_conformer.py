"""wav2vec 2.0 with conformer layers: a convolution in every layer, which must not see padding.

Its batch norms keep the statistics of pretraining (`EmotionClassifier.train`): those of a batch would depend on its padding and differ
between processes.

Shape letters: B batch, T steps, H hidden.
"""

import threading
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ser_mlops.models.families.base import DECISIVE, PROJECTIONS, Family, checkpointed, without_padding

POSITIONS = ("position_embeddings_type", "rotary_embedding_base", "max_source_positions", "conv_depthwise_kernel_size")
CONFORMER_PROJECTIONS = PROJECTIONS | {"query": ("linear_q",), "key": ("linear_k",), "value": ("linear_v",), "output": ("linear_out",)}

_lock = threading.Lock()


class Conformer(Family):
    def norms_at_end(self, base: Any) -> bool:
        return True

    def below_layers(self, base: Any) -> list[nn.Module]:
        return [*super().below_layers(base), *([base.encoder.embed_positions] if base.encoder.embed_positions else [])]

    def enter(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        entered: Tensor = base.encoder.dropout(without_padding(hidden_BTH, mask_BT))
        return entered

    def context(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> dict[str, Any]:
        return super().context(base, hidden_BTH, mask_BT) | {"positions": embed_positions(base.encoder, hidden_BTH), "mask_BT": mask_BT}

    def run_layer(self, layer: Any, hidden_BTH: Tensor, context: dict[str, Any]) -> Tensor:
        return checkpointed(layer, partial(_layer, layer, **context), hidden_BTH)


def embed_positions(encoder: Any, hidden_BTH: Tensor) -> Tensor | None:
    """Return the embedding of the places of steps.

    The module keeps its last one, for whichever thread, precision or grad mode asks next: here each call has its own.
    """
    module = encoder.embed_positions
    if module is None:
        return None
    with _lock:
        module.cached_sequence_length = None
        positions: Tensor = module(hidden_BTH)
    return positions.clone() if positions.is_inference() and not torch.is_inference_mode_enabled() else positions


def _layer(layer: Any, hidden_BTH: Tensor, attention_mask: Tensor | None, positions: Tensor | None, mask_BT: Tensor | None) -> Tensor:
    hidden_BTH = layer.ffn1(layer.ffn1_layer_norm(hidden_BTH)) * 0.5 + hidden_BTH
    attended_BTH, _ = layer.self_attn(
        hidden_states=layer.self_attn_layer_norm(hidden_BTH), attention_mask=attention_mask, relative_position_embeddings=positions
    )
    hidden_BTH = layer.self_attn_dropout(attended_BTH) + hidden_BTH
    hidden_BTH = hidden_BTH + _convolve(layer.conv_module, hidden_BTH, mask_BT)
    output: Tensor = layer.final_layer_norm(layer.ffn2(layer.ffn2_layer_norm(hidden_BTH)) * 0.5 + hidden_BTH)
    return output


def _convolve(module: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
    hidden_BHT = without_padding(module.layer_norm(hidden_BTH), mask_BT).transpose(1, 2)  # zeros stay zeros up to the convolution
    hidden_BHT = module.depthwise_conv(module.glu(module.pointwise_conv1(hidden_BHT)))
    hidden_BHT = module.pointwise_conv2(module.activation(module.batch_norm(hidden_BHT)))
    output: Tensor = module.dropout(hidden_BHT).transpose(1, 2)
    return output


FAMILY = Conformer(
    "wav2vec2-conformer",
    decisive=(*DECISIVE, *POSITIONS),
    projections=CONFORMER_PROJECTIONS,
    unsupported={"add_adapter": "its adapter layers would not be run"},
)
