"""How far a round has come.

There is no random state in it: dropout, layerdrop and SpecAugment draw from generators that are seeded before every optimiser step from
(seed, round, step, process), as the order of the clips follows from (seed, round, epoch). So a step comes out the same whatever ran
before it in the process: other rounds, an evaluation, or nothing because the round was resumed there.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ser_mlops.scores.metrics import is_better
from ser_mlops.seeds import derive


@dataclass
class State:
    """Position and metrics of a round; weights and moments stand beside it in a checkpoint."""

    step: int = 0
    """Optimiser steps done."""
    loss_sum: float = 0.0
    """Weighted losses of the clips seen in the epoch under way."""
    seconds: float = 0.0
    """Spent on the epoch under way."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of the finished epochs."""
    is_finished: bool = False

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.history) + 1


def best_epoch(history: Sequence[dict[str, float]], select_by: str) -> int:
    """Return the epoch (from 1) with the best validation score; the earliest one wins a tie.

    >>> best_epoch([{"val/uar": 0.2}, {"val/uar": 0.4}, {"val/uar": 0.4}], "uar")
    2
    """
    best = 1
    for epoch, metrics in enumerate(history, start=1):
        if is_better(select_by, metrics[f"val/{select_by}"], history[best - 1][f"val/{select_by}"]):
            best = epoch
    return best


def seed_step(seed: int, round: int, step: int, rank: int, device: torch.device) -> None:
    """Seed every global generator for one optimiser step: python, numpy (transformers draws SpecAugment from it), torch and cuda."""
    number = derive(seed, "step", round, step, rank)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
