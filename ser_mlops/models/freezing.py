"""What can be frozen: frozen means no gradient, and eval mode whatever `train()` is called with."""

from typing import Any

from torch import nn

from ser_mlops.errors import SettingsError, one_of
from ser_mlops.models.depth import check_depth, depth_of

FREEZE_MODES = ("none", "feature_encoder", "encoder", "encoder:K")
"""Nothing, the CNN over the waveform, everything below the head, or all below the output of the K-th layer."""


def frozen_part(base: Any, mode: str) -> nn.Module | None:
    """Return the part of an encoder that a mode freezes."""
    if depth := depth_of(mode):
        check_depth(mode, len(base.encoder.layers), "the model")
        encoder = base.encoder
        below = [base.feature_extractor, base.feature_projection, encoder.pos_conv_embed, encoder.dropout]
        norm = [] if base.config.do_stable_layer_norm else [encoder.layer_norm]
        return nn.ModuleList([*below, *norm, *encoder.layers[:depth]])
    if mode not in FREEZE_MODES[:-1]:
        raise SettingsError(one_of("freeze", mode, FREEZE_MODES))
    return {"none": None, "feature_encoder": base.feature_extractor, "encoder": base}[mode]
