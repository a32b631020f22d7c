"""data2vec (audio): several convolutions over positions, each of which would see what the one before made of padding."""

from typing import Any

from torch import Tensor

from ser_mlops.models.families.base import DECISIVE, Family, without_padding


class Data2Vec(Family):
    def norms_at_end(self, base: Any) -> bool:
        return False

    def positions(self, encoder: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        for layer in encoder.pos_conv_embed.layers:
            hidden_BTH = layer(without_padding(hidden_BTH, mask_BT).transpose(1, 2)).transpose(1, 2)
        return hidden_BTH


FAMILY = Data2Vec(
    "data2vec-audio", decisive=(*DECISIVE, "conv_pos_kernel_size"), unsupported={"add_adapter": "its adapter layers would not be run"}
)
