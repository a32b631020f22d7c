"""What can be frozen: frozen means no gradient, and eval mode whatever `train()` is called with."""

from typing import Any

from torch import nn

from ser_mlops.errors import SettingsError, one_of
from ser_mlops.models.depth import check_depth, depth_of
from ser_mlops.models.families.base import Family

FREEZE_MODES = ("none", "feature_encoder", "encoder", "encoder:K")
"""Nothing, the CNN over the waveform, everything below the head, or all below the output of the K-th layer."""


def frozen_part(family: Family, base: Any, mode: str) -> nn.Module | None:
    """Return the part of an encoder that a mode freezes."""
    if depth := depth_of(mode):
        layers = family.layers(base)
        check_depth(mode, len(layers), "the model")
        return nn.ModuleList([*family.below_layers(base), *layers[:depth]])
    if mode not in FREEZE_MODES[:-1]:
        raise SettingsError(one_of("freeze", mode, FREEZE_MODES))
    return {"none": None, "feature_encoder": family.feature_encoder(base), "encoder": base}[mode]
