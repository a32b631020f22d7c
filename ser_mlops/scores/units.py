"""Units: the clips that stand or fall together when scores are carried over to other speakers.

A unit is a speaker. The clips of a corpus whose speakers nobody knows are one unit: they may all be one person's, and whether a unit is one
person or many makes no difference to the variance of a sum of independent units. The corpora are the strata: they are fixed, nobody draws
new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_mlops.scores.metrics import NONE_SHARED, sums_of
from ser_mlops.scores.predictions import logits_of, votes_of

UNKNOWN = "/unknown"
"""How the name of a speaker ends whom nobody knows."""


@dataclass(frozen=True)
class Units:
    """The units of a table of clips: U units, N clips."""

    codes_N: np.ndarray
    """The unit of each clip, as an index."""
    names: tuple[str, ...]
    """Speakers; CORPUS/unknown for the clips of unknown speakers."""
    corpora_U: np.ndarray
    """The corpus of each unit, the strata."""

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def num_speakers(self) -> int:
        """Known speakers."""
        return sum(not name.endswith(UNKNOWN) for name in self.names)


def units_of(table: pd.DataFrame) -> Units:
    """Return the units of a prediction table."""
    codes_N, names = pd.factorize(table["speaker"].astype("str"))
    corpora = table["corpus"].astype("str").groupby(codes_N).first()
    return Units(codes_N, tuple(names), corpora.to_numpy())


def unit_sums(rounds: Sequence[pd.DataFrame], units: Units, shared: np.ndarray = NONE_SHARED) -> np.ndarray:
    """Return the sums [U, R, F] of every unit and round; R prediction tables over the same clips."""
    votes = [votes_of(table) for table in rounds] if have_votes(rounds) else [None] * len(rounds)
    by_round = [
        sums_of(logits_of(table, np.float64), table["labels"].to_numpy(), shared, units.codes_N, units.count, votes_NV)
        for table, votes_NV in zip(rounds, votes, strict=True)
    ]
    return np.stack(by_round, axis=1)


def have_votes(rounds: Sequence[pd.DataFrame]) -> bool:
    """Say whether the clips of prediction tables over the same clips have votes: in every table, as those of older rounds lack them."""
    return all(votes_of(table) is not None for table in rounds)
