"""The trained weights as AdamW takes them: in groups, each with its own peak of the learning rate and its own weight decay."""

from collections.abc import Mapping
from typing import Any

from torch.nn import Parameter

from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training.recipe import Recipe


def parameter_groups(classifier: EmotionClassifier, parameters: Mapping[str, Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """Return the groups; what has a peak (`peak`) and a decay in common stands together, in the order of the weights.

    Without `decay_all` vectors do not decay: biases, norms (also the gain of a weight norm, 1 x 1 x K) and layer weights.
    """
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in parameters.items():
        is_matrix = parameter.squeeze().ndim >= 2 or ".lora_" in name  # an adapter of rank 1 is one, too
        decay = recipe.weight_decay if recipe.decay_all or is_matrix else 0.0
        groups.setdefault((recipe.peak(classifier.layers_above(name)), decay), []).append(parameter)
    return [{"params": group, "lr": peak, "peak": peak, "weight_decay": decay} for (peak, decay), group in groups.items()]
