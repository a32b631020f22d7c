"""The layers of an encoder run in two parts, up to the K-th and from there on, as transformers runs them in one.

The lower part is frozen: no SpecAugment, dropout or layerdrop. In the upper part a layer may be dropped while it is trained.

Shape letters: B batch, T steps, H hidden.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_bidirectional_mask


def run_lower(base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None, depth: int) -> list[Tensor]:
    """Return the input of the first layer and the outputs of the first `depth` layers."""
    encoder = base.encoder
    if mask_BT is not None:
        hidden_BTH = hidden_BTH * mask_BT[:, :, None]  # which the convolution over positions must not see
    attention = create_bidirectional_mask(config=encoder.config, inputs_embeds=hidden_BTH, attention_mask=mask_BT)
    hidden_BTH = hidden_BTH + encoder.pos_conv_embed(hidden_BTH)
    states = [hidden_BTH if base.config.do_stable_layer_norm else encoder.layer_norm(hidden_BTH)]
    for layer in encoder.layers[:depth]:
        states.append(layer(states[-1], attention_mask=attention))
    return states


def run_upper(base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None, depth: int) -> tuple[list[Tensor], Tensor]:
    """Return the outputs of the layers above the first `depth`, and the output of the encoder."""
    encoder = base.encoder
    attention = create_bidirectional_mask(config=encoder.config, inputs_embeds=hidden_BTH, attention_mask=mask_BT)
    states: list[Tensor] = []
    for layer in encoder.layers[depth:]:
        is_dropped = encoder.training and encoder.config.layerdrop > 0 and torch.rand([]) < encoder.config.layerdrop
        if not is_dropped:
            hidden_BTH = layer(hidden_BTH, attention_mask=attention)
        states.append(hidden_BTH)
    return states, encoder.layer_norm(hidden_BTH) if base.config.do_stable_layer_norm else hidden_BTH
