"""What a family of encoders provides: everything that depends on the `model_type` of a checkpoint. As written here it is wav2vec 2.0's.

`base` is the encoder of transformers without head, `config` its config. Whatever mixes steps gets a mask of the valid ones, so that a
padded clip gives what it gives alone. Functions do not change `base`: several threads may run it at once.

Shape letters: B batch, S samples, V values that `prepare` makes of a clip, T steps, C channels of the CNN, H hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from ser_mlops.models.masked_norm import masked_group_norm

DECISIVE = (
    "model_type",
    "conv_kernel",
    "conv_stride",
    "feat_extract_norm",
    "feat_extract_activation",
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
    "do_stable_layer_norm",
    "feat_proj_layer_norm",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "use_weighted_layer_sum",
)

PROJECTIONS = {
    "query": ("q_proj",),
    "key": ("k_proj",),
    "value": ("v_proj",),
    "output": ("out_proj",),
    "feed_forward": ("intermediate_dense", "output_dense"),
}


@dataclass(frozen=True)
class Family:
    """An encoder with a CNN over the waveform, a projection, a convolution over positions, and transformer layers."""

    model_type: str
    decisive: tuple[str, ...] = DECISIVE
    """Keys of a config that decide outputs and that the shapes of the weights do not show."""
    projections: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PROJECTIONS)
    """What a linear map of a layer does -> its names in the layer; adapters adapt these."""
    layers_name: str = "encoder.layers"
    """Where the layers are in `base`."""
    unsupported: Mapping[str, str] | None = None
    """Keys of a config that must be off, and why."""
    norms_last_state: bool = False
    """Whether a sum of layers takes the last one behind the final norm, as transformers records it for this family."""
    layout: str = "samples"
    """The axes of what `prepare` returns, in words; the first is V."""

    # Where things are

    def base(self, net: Any) -> Any:
        """Return what stands below the head."""
        return net.base_model

    def base_name(self, net: Any) -> str:
        """Return the name of `base` in the network."""
        return str(net.base_model_prefix)

    def layers(self, base: Any) -> Any:
        return base.get_submodule(self.layers_name)

    def feature_encoder(self, base: Any) -> nn.Module:
        """Return what `freeze=feature_encoder` freezes."""
        module: nn.Module = base.feature_extractor
        return module

    def below_layers(self, base: Any) -> list[nn.Module]:
        """Return everything below the first layer."""
        encoder = base.encoder
        norm = [] if self.norms_at_end(base) else [encoder.layer_norm]
        return [base.feature_extractor, base.feature_projection, encoder.pos_conv_embed, encoder.dropout, *norm]

    def fixed(self, base: Any) -> list[nn.Module]:
        """Return what is never trained, in no freezing."""
        return []

    def norms_at_end(self, base: Any) -> bool:
        """Say whether a norm stands behind the last layer (instead of before the first)."""
        return bool(base.config.do_stable_layer_norm)

    # From samples to steps

    def max_seconds(self, config: Any) -> float | None:
        """Return after how many seconds a clip is cut off; None where it is not."""
        return None

    def min_samples(self, config: Any) -> int:
        """Return the samples of one step: shorter clips are padded with zeros to this length."""
        samples = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def prepare(self, extractor: Any, wave_S: np.ndarray) -> np.ndarray:
        """Return what the checkpoint takes of a clip (float32 in [-1, 1]), along its first axis V."""
        if extractor.do_normalize:
            wave_S = (wave_S - wave_S.mean()) / np.sqrt(wave_S.var() + 1e-7)
        return wave_S

    def normalisation(self, extractor: Any) -> str:
        """Say in words what `prepare` does."""
        return "zero mean and unit variance of each window" if extractor.do_normalize else "none"

    def input_identity(self, extractor: Any) -> Any:
        """Return, in JSON types, all that `prepare` depends on."""
        return bool(extractor.do_normalize)

    def min_values(self, config: Any) -> int:
        return self.min_samples(config)

    def num_values(self, config: Any, samples_B: Tensor) -> Tensor:
        """Return how many values `prepare` makes of so many samples."""
        return samples_B

    def num_steps(self, config: Any, values_B: Tensor) -> Tensor:
        """Return how many steps the CNN makes of so many values, at least one."""
        lengths_B = values_B.clamp(min=self.min_values(config))
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            lengths_B = (lengths_B - kernel) // stride + 1
        return lengths_B

    def channels(self, config: Any) -> int:
        """Return C."""
        return int(config.conv_dim[-1])

    def cnn(self, base: Any, values_BV: Tensor, lengths_B: Tensor) -> Tensor:
        """Return hidden_BTC; `lengths_B` says how many values are no padding."""
        config = base.config
        first, *others = base.feature_extractor.conv_layers
        hidden_BCT = values_BV[:, None]
        if getattr(config, "feat_extract_norm", "layer") == "group":
            steps_B = (lengths_B - config.conv_kernel[0]) // config.conv_stride[0] + 1
            hidden_BCT = first.activation(masked_group_norm(first.conv(hidden_BCT), first.layer_norm, steps_B))
        else:
            hidden_BCT = first(hidden_BCT)
        for layer in others:
            hidden_BCT = layer(hidden_BCT)
        return hidden_BCT.transpose(1, 2)

    # From steps to layers

    def project(self, base: Any, hidden_BTC: Tensor) -> Tensor:
        """Return hidden_BTH."""
        projected = base.feature_projection(hidden_BTC)
        return projected[0] if isinstance(projected, tuple) else projected  # wav2vec 2.0 returns the normed input too

    def augment(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
        """Apply the SpecAugment of the checkpoint while training; a batch shorter than one mask goes without masks in time."""
        config = base.config
        is_short = hidden_BTH.shape[1] < config.mask_time_length
        nothing_BT = torch.zeros_like(mask_BT) if is_short and base.training and config.mask_time_prob > 0 else None
        masked: Tensor = base._mask_hidden_states(hidden_BTH, mask_time_indices=nothing_BT, attention_mask=mask_BT)
        return masked

    def enter(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Return the input of the first layer."""
        encoder = base.encoder
        hidden_BTH = without_padding(hidden_BTH, mask_BT)
        hidden_BTH = hidden_BTH + self.positions(encoder, hidden_BTH, mask_BT)
        hidden_BTH = hidden_BTH if self.norms_at_end(base) else encoder.layer_norm(hidden_BTH)
        entered: Tensor = encoder.dropout(hidden_BTH)
        return entered

    def positions(self, encoder: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Return what is added to the steps so that they know their places; `hidden_BTH` is zero where there is padding."""
        added: Tensor = encoder.pos_conv_embed(hidden_BTH)
        return added

    def context(self, base: Any, hidden_BTH: Tensor, mask_BT: Tensor | None) -> dict[str, Any]:
        """Return what every layer is given besides the output of the one below it."""
        return {"attention_mask": create_bidirectional_mask(config=base.config, inputs_embeds=hidden_BTH, attention_mask=mask_BT)}

    def run_layer(self, layer: Any, hidden_BTH: Tensor, context: dict[str, Any]) -> Tensor:
        """Return the output of a layer."""
        output: Tensor = layer(hidden_BTH, **context)
        return output

    def drops(self, base: Any, number: int) -> float:
        """Return how likely it is that a layer is left out while it is trained (layerdrop)."""
        return float(base.config.layerdrop)

    def leave(self, base: Any, hidden_BTH: Tensor) -> Tensor:
        """Return the output of the encoder, computed from that of the last layer."""
        return base.encoder.layer_norm(hidden_BTH) if self.norms_at_end(base) else hidden_BTH


def without_padding(hidden_BTH: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Return zeros where there is padding, which a convolution must not see."""
    return hidden_BTH if mask_BT is None else hidden_BTH.masked_fill(~mask_BT[:, :, None], 0.0)


def checkpointed(layer: Any, run: Callable[[Tensor], Tensor], hidden_BTH: Tensor) -> Tensor:
    """Run a layer, as transformers does where gradient checkpointing is on: keep its input alone."""
    if layer.gradient_checkpointing and layer.training:
        output: Tensor = layer._gradient_checkpointing_func(run, hidden_BTH)
        return output
    return run(hidden_BTH)
