"""What one round trains, and what its numbers depend on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Generic, TypeVar

import torch

from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import resolve_precision
from ser_mlops.training.recipe import Recipe

ModelT = TypeVar("ModelT")


@dataclass(frozen=True)
class Round:
    """One full training repeat: model, recipe, clips and the seeds of everything that is drawn."""

    model: str
    """Alias, hub id or folder; the head is drawn from seed and number."""
    recipe: Recipe
    train: Clips
    validation: Clips
    seed: int
    number: int
    """From 0; rounds of one experiment share the seed and differ in their number."""
    features: Features | None
    """Outputs of the frozen part for every clip, or None to compute from waveforms; only where `recipe.reads_waves` has no objection."""
    identity: Mapping[str, str]
    """What else the numbers depend on (data, code, packages)."""
    training: str = ""
    """Name of the training that it repeats, for those who watch it; its numbers do not depend on that."""

    @property
    def title(self) -> str:
        """What it is called while it runs."""
        return f"{self.training} round {self.number}".lstrip()

    def identify(self, world: World) -> dict[str, str]:
        """Return all that the numbers depend on, as text: a saved state of another identity is refused."""
        own = {
            "model": self.model,
            "seed": str(self.seed),
            "round": str(self.number),
            "emotions": ", ".join(self.train.emotions),
            "training clips": _digest(self.train),
            "validation clips": _digest(self.validation),
            "inputs": "waveforms" if self.features is None else f"outputs of the frozen {self.features.mode}",
            "device": world.device.type,
            "precision": resolve_precision(self.recipe.precision, world.device),
            "processes": str(world.size),
            "threads": str(torch.get_num_threads()),  # sums are cut up by them
        }
        return {name: str(value) for name, value in asdict(self.recipe).items()} | own | dict(self.identity)


@dataclass(frozen=True)
class Fitted(Generic[ModelT]):
    """A round at its best epoch."""

    classifier: ModelT
    """A network has the best epoch's weights and is in evaluation mode."""
    best_epoch: int
    """From 1."""
    best_scores: dict[str, float]
    """Validation scores of the best epoch, under their names in `metrics.score`."""
    history: list[dict[str, float]]
    """Metrics of every epoch, as the recorder got them."""
    num_trainable: int
    num_frozen: int


def _digest(clips: Clips) -> str:
    digest = sha256()
    for i in range(len(clips)):
        digest.update(f"{clips.corpora[i]} {clips.starts[i]} {clips.num_samples[i]} {clips.labels[i]}\n".encode())
    if clips.targets is not None:
        digest.update(clips.targets.tobytes())
    return digest.hexdigest()[:16]
