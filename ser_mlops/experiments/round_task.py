"""One round of an experiment, ready to be trained."""

from dataclasses import dataclass
from pathlib import Path

from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import Training
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World


@dataclass(frozen=True)
class RoundTask:
    """One round of an experiment, with all that it takes to train it here."""

    experiment: Experiment
    training: Training
    number: int
    folder: Path
    """For the states of this round and of no other."""
    features: Features | None
    """Outputs of the frozen part, or vectors of the baseline; None where waveforms are read."""
    world: World
