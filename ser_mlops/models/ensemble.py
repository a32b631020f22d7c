"""Rounds of an experiment as one model, whose probabilities are the mean of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ser_mlops.errors import ModelError
from ser_mlops.models.classifier import EmotionClassifier

if TYPE_CHECKING:
    from ser_mlops.models.baseline import Baseline


@dataclass(frozen=True)
class Ensemble:
    """Models of one kind that tell the same emotions apart."""

    members: "tuple[EmotionClassifier | Baseline, ...]"

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.members[0].emotions

    @classmethod
    def of(cls, members: "Sequence[EmotionClassifier | Baseline]") -> "Ensemble":
        """Join models; weights that networks have in common are kept once.

        Raises:
            ModelError: they are of several kinds, or tell different emotions apart.
        """
        if len({type(member) for member in members}) > 1:
            raise ModelError("an ensemble of networks and baselines is not supported")
        if len(spaces := dict.fromkeys(member.emotions for member in members)) > 1:
            raise ModelError(f"models of an ensemble tell different emotions apart: {'; '.join(', '.join(space) for space in spaces)}")
        networks = [member for member in members if isinstance(member, EmotionClassifier)]
        for other in networks[1:]:
            _share_equal_weights(networks[0], other)
        return cls(tuple(members))


def _share_equal_weights(first: nn.Module, other: nn.Module) -> None:
    """Give a network the very weights of another of the same architecture where they are equal."""
    for mine, theirs in zip(first.modules(), other.modules(), strict=True):
        for name, weight in (*mine.named_parameters(recurse=False), *mine.named_buffers(recurse=False)):
            if torch.equal(weight, getattr(theirs, name)):
                setattr(theirs, name, weight)


def share_encoder(networks: Sequence[EmotionClassifier]) -> bool:
    """Say whether all that is below the heads of these networks is the same, as where it was frozen in training."""
    first, *others = (network.base for network in networks)
    have_one = all(weight is own for other in others for weight, own in zip(other.parameters(), first.parameters(), strict=True))
    return have_one and all(torch.equal(mine, own) for other in others for mine, own in zip(other.buffers(), first.buffers(), strict=True))
