"""LoRA through peft: beside each chosen projection of the layers a product of two small matrices, which alone are trained, and the head.

Hu et al. 2021 (arXiv 2106.09685). The trained products are added to the weights in the end, so that plain transformers opens what is saved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ser_mlops.errors import SettingsError
from ser_mlops.seeds import derive

if TYPE_CHECKING:
    from ser_mlops.models.classifier import EmotionClassifier  # which loads transformers


@dataclass(frozen=True)
class Lora:
    """What is put beside which projections."""

    rank: int
    alpha: float
    """The products count alpha / rank."""
    dropout: float
    targets: Sequence[str]
    """Keys of `Family.projections`."""


def add_lora(classifier: "EmotionClassifier", lora: Lora, seed: int) -> None:
    """Put adapters into the layers that are not frozen, and leave these and the head to be trained.

    The first matrix of each is drawn from the seed and its own name, the second is 0: at first nothing changes. Weights stay the very ones
    that they were, so those of a shared encoder stay shared.
    """
    from peft import LoraConfig, inject_adapter_in_model  # which takes half a second to load

    names = {name for target in lora.targets for name in classifier.family.projections[target]}
    chosen = [
        name.removeprefix("net.")
        for name, module in classifier.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in names and classifier.is_trained_layer(name)
    ]
    if not chosen:
        raise SettingsError(f"lora_targets={','.join(lora.targets)}: no layer that is trained has such projections")
    alpha: Any = lora.alpha  # peft divides it by the rank and says that it is an int
    config = LoraConfig(r=lora.rank, lora_alpha=alpha, lora_dropout=lora.dropout, target_modules=chosen, bias="none")
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, classifier.net)
    for name, weight in classifier.named_parameters():
        is_adapter = ".lora_" in name
        weight.requires_grad_(is_adapter or classifier.layers_above(name) is None)
        if ".lora_A." in name:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=torch.Generator().manual_seed(derive(seed, "weights", name)))


@torch.no_grad()
def merge_lora(classifier: "EmotionClassifier") -> None:
    """Add what the adapters have learnt to the weights beside them, in copies of their own, and take the adapters out."""
    from peft.tuners.lora import LoraLayer

    adapted = [(name, module) for name, module in classifier.net.named_modules() if isinstance(module, LoraLayer)]
    module: Any
    for name, module in adapted:
        linear = module.get_base_layer()
        linear.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)  # the old one may be shared
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(classifier.net.get_submodule(parent), child, linear)
