"""What can be frozen: frozen means no gradient, and eval mode whatever `train()` is called with."""

from typing import Any

from torch import nn

from ser_mlops.errors import SettingsError, one_of

FREEZE_MODES = ("none", "feature_encoder", "encoder")
"""Nothing, the CNN over the waveform, or everything below the head."""


def frozen_part(base: Any, mode: str) -> nn.Module | None:
    """Return the part of an encoder that a mode freezes."""
    if mode not in FREEZE_MODES:
        raise SettingsError(one_of("freeze", mode, FREEZE_MODES))
    return {"none": None, "feature_encoder": base.feature_extractor, "encoder": base}[mode]
