"""The layers of an encoder, run from one to another as transformers runs them all.

While an encoder is trained a layer may be dropped (layerdrop). Dropout and layerdrop of frozen layers are off.

Shape letters: B batch, T steps, H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ser_mlops.models.families.base import Family


def run_layers(
    family: Family, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None, first: int = 0, end: int | None = None, *, drops: bool = False
) -> Iterator[Tensor]:
    """Yield the output of every layer from `first` to the one before `end`, computed from the output of the one below."""
    context = family.context(base, hidden_BTH, mask_BT)
    for number, layer in list(enumerate(family.layers(base)))[first:end]:
        rate = family.drops(base, number) if drops else 0.0
        if not (rate > 0 and torch.rand([]) < rate):
            hidden_BTH = family.run_layer(layer, hidden_BTH, context)
        yield hidden_BTH
