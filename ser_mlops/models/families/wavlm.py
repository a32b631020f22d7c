"""WavLM: its attention adds a bias that depends on the distance of two steps, gated by the query.

transformers 5.24 runs that attention with the slow function that returns weights, past the projections' own `forward`; here it is scaled
dot product attention through the projections, so that adapters work.

Shape letters: B batch, T steps, H hidden, N heads, D = H / N.
"""

from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from ser_mlops.models.families.base import DECISIVE, Family, checkpointed


class WavLM(Family):
    def context(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> dict[str, Any]:
        num_steps = hidden_BTH.shape[1]
        return {"bias_NTT": base.encoder.layers[0].attention.compute_bias(num_steps, num_steps), "mask_BT": mask_BT}

    def drops(self, base: Any, number: int) -> float:
        return super().drops(base, number) if number else 0.0  # as transformers keeps the layer that has the bias

    def run_layer(self, layer: Any, hidden_BTH: Tensor, context: dict[str, Any]) -> Tensor:
        run = _stable_layer if type(layer).__name__.endswith("StableLayerNorm") else _layer
        return checkpointed(layer, partial(run, layer, **context), hidden_BTH)


def _layer(layer: Any, hidden_BTH: Tensor, **context: Any) -> Tensor:
    hidden_BTH = layer.layer_norm(hidden_BTH + layer.dropout(_attend(layer.attention, hidden_BTH, **context)))
    output: Tensor = layer.final_layer_norm(hidden_BTH + layer.feed_forward(hidden_BTH))
    return output


def _stable_layer(layer: Any, hidden_BTH: Tensor, **context: Any) -> Tensor:
    hidden_BTH = hidden_BTH + layer.dropout(_attend(layer.attention, layer.layer_norm(hidden_BTH), **context))
    output: Tensor = hidden_BTH + layer.feed_forward(layer.final_layer_norm(hidden_BTH))
    return output


def _attend(attention: Any, hidden_BTH: Tensor, bias_NTT: Tensor, mask_BT: Tensor | None) -> Tensor:
    def heads(values_BTH: Tensor) -> Tensor:
        return values_BTH.unflatten(2, (attention.num_heads, attention.head_dim)).transpose(1, 2)

    gates_BNT24 = attention.gru_rel_pos_linear(heads(hidden_BTH)).unflatten(3, (2, 4))
    update_BNT1, reset_BNT1 = gates_BNT24.sum(-1).sigmoid().chunk(2, dim=-1)
    bias_BNTT = (update_BNT1 * (reset_BNT1 * attention.gru_rel_pos_const - 1.0) + 2.0) * bias_NTT
    if mask_BT is not None:
        bias_BNTT = bias_BNTT.masked_fill(~mask_BT[:, None, None], float("-inf"))
    query_BNTD, key_BNTD, value_BNTD = (heads(project(hidden_BTH)) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    attended_BNTD = functional.scaled_dot_product_attention(
        query_BNTD,
        key_BNTD,
        value_BNTD,
        attn_mask=bias_BNTT.to(query_BNTD.dtype),
        dropout_p=attention.dropout if attention.training else 0.0,
    )
    output: Tensor = attention.out_proj(attended_BNTD.transpose(1, 2).flatten(2))
    return output


FAMILY = WavLM("wavlm", decisive=(*DECISIVE, "num_buckets", "max_bucket_distance"), unsupported={"add_adapter": "its adapter is not run"})
