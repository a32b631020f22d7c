"""An emotion classifier whose predictions do not depend on padding, in three parts: CNN, encoder pooled over steps, head.

Where the first K layers of the encoder are frozen, it has two parts: the lower gives R rows a clip, the steps of layer K behind what the
head takes of the layers below it (K means over steps where the layers are weighted, else none).

Shape letters: B batch, S samples, T steps, C channels of the CNN, L layers (1, or every layer where the checkpoint weights
its layers), H hidden, R rows, E emotions.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor
from transformers.utils import logging

from ser_mlops.data.audio.format import FULL_SCALE
from ser_mlops.errors import TrainingError
from ser_mlops.models.depth import depth_of
from ser_mlops.models.families.registry import families
from ser_mlops.models.freezing import frozen_part
from ser_mlops.models.layers import run_layers
from ser_mlops.models.masked_norm import masked_mean, step_mask

STAGES = ("wave", "cnn", "lower", "pooled")


class EmotionClassifier(nn.Module):
    """A transformers audio classifier of one of the families, run part by part.

    With `attention_mask=False` nothing is masked, neither in attention nor in the mean over steps: the legacy way, in which
    a prediction depends on the padding unless clips go one at a time.
    """

    def __init__(self, net: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, *, attention_mask: bool = True):
        super().__init__()
        self.net: Any = net
        self.family = families()[net.config.model_type]
        self.extractor = extractor
        self.extractor.return_attention_mask = attention_mask
        self.attention_mask = attention_mask
        self.freezing = "none"
        self.depth: int | None = None
        self.eval()

    @property
    def config(self) -> Any:
        return self.net.config

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names of its classes, in the order of the logits."""
        return tuple(self.config.id2label[label] for label in range(self.config.num_labels))

    @property
    def base(self) -> Any:
        """Everything below the head."""
        return self.family.base(self.net)

    @property
    def weighs_layers(self) -> bool:
        return bool(self.config.use_weighted_layer_sum)

    @property
    def min_samples(self) -> int:
        """Samples of one step: shorter clips are padded with zeros to this length."""
        return self.family.min_samples(self.config)

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Return a clip as the checkpoint wants it, float32: its wave, normalised if its feature extractor does so, or its log-mel steps.

        `wave` is int16, or float32 in [-1, 1].
        """
        wave = wave.astype(np.float32) / FULL_SCALE if wave.dtype == np.int16 else wave
        return self.family.prepare(self.extractor, wave)

    def forward(self, values: Tensor, lengths: Tensor, stage: str = "wave") -> Tensor:
        """Return logits_BE, computed from a stage on.

        Args:
            values: wave: values_BS as `prepare` returns them; cnn: outputs of the CNN, values_BTC; lower: outputs of the frozen layers,
                values_BRH; pooled: values_BLH.
            lengths: what is not padding, lengths_B in samples (wave), steps (cnn) or rows (lower); unused when pooled.
            stage: what the values are.
        """
        assert stage in STAGES
        if stage == "wave":
            values, lengths = self.cnn(values, lengths)
        if stage in ("wave", "cnn") and self.depth is not None:
            values, lengths = self.lower(values, lengths, self.depth)
        if stage != "pooled":
            values = self.pooled(values, lengths) if self.depth is None else self.upper(values, lengths, self.depth)
        return self.logits(values)

    def cnn(self, values_BV: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden_BTC and steps_B.

        On a CPU the clips go one at a time: the first layer makes 6.5 MB of each second, and memory of that size is allocated afresh,
        page by page, at every call, so that 16 clips together would take two and a half times as long.
        """
        shortest = self.family.min_values(self.config)
        values_BV = functional.pad(values_BV, (0, max(0, shortest - values_BV.shape[1]))) if values_BV.dim() == 2 else values_BV
        lengths_B = lengths_B.clamp(min=shortest)
        if not self.attention_mask:
            lengths_B = torch.full_like(lengths_B, values_BV.shape[1])
        with self._gradient(self.freezing == "none"):
            if values_BV.device.type == "cpu":
                hidden = [self._cnn(values_BV[i : i + 1, :length], lengths_B[i : i + 1])[0] for i, length in enumerate(lengths_B.tolist())]
                hidden_BTC = pad_sequence(hidden, batch_first=True)
            else:
                hidden_BTC = self._cnn(values_BV, lengths_B)
        return hidden_BTC, self.family.num_steps(self.config, lengths_B)

    def _cnn(self, values_BV: Tensor, lengths_B: Tensor) -> Tensor:
        return self.family.cnn(self.base, values_BV, lengths_B)

    def num_steps(self, samples_B: Tensor) -> Tensor:
        """Return how many steps the CNN makes of so many samples, at least one."""
        return self.family.num_steps(self.config, self.family.num_values(self.config, samples_B))

    def pooled(self, hidden_BTC: Tensor, steps_B: Tensor) -> Tensor:
        """Return the mean over valid steps of the encoder's output, or of every layer's: pooled_BLH, float32."""
        mask_BT = self._mask(steps_B, hidden_BTC.shape[1])
        with self._gradient(self.freezing != "encoder"):
            projected_BTH = self.family.project(self.base, hidden_BTC)
            augmented_BTH = self.family.augment(self.base, projected_BTH, mask_BT)
            entered_BTH = self.family.enter(self.base, augmented_BTH, mask_BT if self.attention_mask else None)
            return self._means_above(entered_BTH, mask_BT, 0)

    def lower(self, hidden_BTC: Tensor, steps_B: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Return the outputs of the first `depth` layers, which are frozen: values_BRH and rows_B."""
        mask_BT = self._mask(steps_B, hidden_BTC.shape[1])
        seen_BT = mask_BT if self.attention_mask else None
        with self._gradient(False):
            values_BRH = self.family.enter(self.base, self.family.project(self.base, hidden_BTC), seen_BT)
            means = []
            for state_BTH in run_layers(self.family, self.base, values_BRH, seen_BT, end=depth):
                if self.weighs_layers:
                    means.append(masked_mean(values_BRH, mask_BT).to(values_BRH.dtype))
                values_BRH = state_BTH
            if means:
                values_BRH = torch.cat([torch.stack(means, dim=1), values_BRH], dim=1)
        return values_BRH, steps_B + self.num_means(depth)

    def upper(self, values_BRH: Tensor, rows_B: Tensor, depth: int) -> Tensor:
        """Return what `pooled` returns, computed from the outputs of the first `depth` layers."""
        num_means = self.num_means(depth)
        hidden_BTH = values_BRH[:, num_means:]
        means_BLH = self._means_above(hidden_BTH, self._mask(rows_B - num_means, hidden_BTH.shape[1]), depth)
        return torch.cat([values_BRH[:, :num_means].float(), means_BLH], dim=1) if num_means else means_BLH

    def _means_above(self, hidden_BTH: Tensor, mask_BT: Tensor, depth: int) -> Tensor:
        """Return the mean over valid steps of the encoder's output, or of `hidden_BTH` and every layer's from `depth` on: means_BLH."""
        states: list[Tensor] = []
        output_BTH = hidden_BTH
        drops = self.base.training and not self.weighs_layers  # a dropped layer would leave its weight without a value
        for state_BTH in run_layers(self.family, self.base, hidden_BTH, mask_BT if self.attention_mask else None, depth, drops=drops):
            if self.weighs_layers:
                states.append(masked_mean(output_BTH, mask_BT))
            output_BTH = state_BTH
        if not self.weighs_layers or self.family.norms_last_state:
            output_BTH = self.family.leave(self.base, output_BTH)
        return torch.stack([*states, masked_mean(output_BTH, mask_BT)], dim=1)

    def num_means(self, depth: int) -> int:
        """Return how many rows stand before the steps: what the head takes of the layers below the last frozen one."""
        return depth if self.weighs_layers else 0

    def _mask(self, steps_B: Tensor, num_steps: int) -> Tensor:
        return step_mask(steps_B if self.attention_mask else torch.full_like(steps_B, num_steps), num_steps)

    def logits(self, pooled_BLH: Tensor) -> Tensor:
        """Return logits_BE in float32: projector and mean over steps are both linear, so the mean comes first."""
        device = pooled_BLH.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self.logits(pooled_BLH)
        pooled_BLH = pooled_BLH.float()
        if self.weighs_layers:
            weights_L = functional.softmax(self.net.layer_weights, dim=-1)
            pooled_BH = torch.einsum("l,blh->bh", weights_L, pooled_BLH)
        else:
            pooled_BH = pooled_BLH[:, 0]
        return self.net.classifier(self.net.projector(pooled_BH))

    def shares_of_layers(self) -> list[float]:
        """Return how much the head takes of the input of the first layer and of the output of each; nothing where it takes the last."""
        shares: list[float] = functional.softmax(self.net.layer_weights.detach().float(), dim=-1).tolist() if self.weighs_layers else []
        return shares

    def freeze(self, mode: str) -> None:
        """Freeze nothing (`none`), the CNN (`feature_encoder`), everything below the head (`encoder`) or up to a layer (`encoder:K`)."""
        part = frozen_part(self.family, self.base, mode)
        self.freezing, self.depth = mode, depth_of(mode)
        self.requires_grad_(True)
        for module in self.family.fixed(self.base):
            module.requires_grad_(False)
        if part is not None:
            part.requires_grad_(False)
        if self.depth is not None and (vector := getattr(self.base, "masked_spec_embed", None)) is not None:
            vector.requires_grad_(False)  # SpecAugment alters what goes into the frozen layers, so it is off
        self.train(self.training)

    def train(self, mode: bool = True) -> "EmotionClassifier":
        """Set training mode, except for the frozen part, whose dropout and SpecAugment stay off, and for batch norms.

        Statistics of a batch would depend on its padding, and on how many processes share it.
        """
        part = frozen_part(self.family, self.base, self.freezing)
        if part is self.base and not part.training:  # the hundreds of modules of a frozen encoder are off and stay off
            self.training = self.net.training = mode
            for module in self.net.children():
                if module is not part:
                    module.train(mode)
            return self
        super().train(mode)
        for module in self.base.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        if part is not None:
            part.eval()
        return self

    @contextmanager
    def _gradient(self, is_trained: bool) -> Iterator[None]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
            yield

    def is_trained_layer(self, name: str) -> bool:
        """Say whether a module or weight belongs to a layer of the encoder that is not frozen."""
        above, num_layers = self.layers_above(f"{name}."), len(self.family.layers(self.base))
        if above is None or self.freezing == "encoder" or f".{self.family.layers_name}." not in name:
            return False
        return above < num_layers - (self.depth or 0)

    def layers_above(self, name: str) -> int | None:
        """Return how many layers of the encoder stand above a weight, all of them for what lies below the first; None in the head."""
        prefix = f"net.{self.family.base_name(self.net)}."
        if not name.startswith(prefix):
            return None
        num_layers = len(self.family.layers(self.base))
        if found := re.match(rf"{re.escape(self.family.layers_name)}\.(\d+)\.", name.removeprefix(prefix)):
            return num_layers - 1 - int(found[1])
        last_norm = f"{prefix}{self.family.layers_name.removesuffix('layers')}layer_norm."
        return 0 if name.startswith(last_norm) and self.family.norms_at_end(self.base) else num_layers

    def num_parameters(self) -> tuple[int, int]:
        """Return how many parameters are trainable, and how many are frozen."""
        trainable = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        return trainable, sum(parameter.numel() for parameter in self.parameters()) - trainable

    def digest(self, mode: str) -> str:
        """Return a hash of all that decides the outputs of the part that a mode freezes: its weights and its architecture."""
        part = frozen_part(self.family, self.base, mode)
        digest = hashlib.sha256(repr([(name, getattr(self.config, name, None)) for name in self.family.decisive]).encode())
        for name, weight in (part.state_dict() if part else {}).items():
            if name != "masked_spec_embed":  # random where a checkpoint lacks it, and unused in eval mode
                digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
                digest.update(weight.cpu().contiguous().numpy())
        return digest.hexdigest()

    def cached_shape(self, mode: str) -> tuple[int, ...]:
        """Return the shape of one row of the outputs of that part: L x H per clip, or C or H per step."""
        if depth_of(mode) is not None:
            return (self.config.hidden_size,)
        if mode == "encoder":
            return (self.config.num_hidden_layers + 1 if self.weighs_layers else 1, self.config.hidden_size)
        return (self.family.channels(self.config),)

    def save(self, folder: Path) -> None:
        """Write config, safetensors and preprocessor, as plain transformers opens them.

        Raises:
            TrainingError: the disk does not take them.
        """
        try:
            with quiet():
                self.net.save_pretrained(folder)
            self.extractor.save_pretrained(folder)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"cannot save the model in {folder} ({error}): make room there") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing bars and load reports: what matters in those becomes an error of ours."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
