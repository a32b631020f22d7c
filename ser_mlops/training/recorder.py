"""What the engine reports of a round while it runs."""

from collections.abc import Mapping
from typing import Protocol

LAYER_WEIGHT = "layer_weight/"
"""Metrics that say how much the head takes of a layer begin so, where it takes a learned sum."""


class Recorder(Protocol):
    """Takes every epoch's metrics. Called by the first process only, when the epoch is already safe on disk."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an epoch (from 1).

        A resumed round reports its finished epochs again, in order and with the same values: an epoch may have been saved but
        not recorded when the process was killed. The recorder leaves out what it already has.
        """
