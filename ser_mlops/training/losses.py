"""The losses that a network can be trained by.

B clips, E emotions. Of a clip, q are the shares of the emotions in its target (1 for its label, or by its listeners' votes), p the
probabilities of the model, w the weights of the emotions (`class_weights`). With label smoothing s, q becomes (1 - s) q + s / E.

- cross_entropy: -sum of w q log p
- focal: -sum of w q (1 - p)^gamma log p; Lin et al., Focal loss for dense object detection, ICCV 2017. What is right already counts little.
- logit_adjusted: cross_entropy of the logits + tau log(share of each emotion among the training clips); Menon et al., Long-tail learning
  via logit adjustment, ICLR 2021. An emotion without a clip counts as if it had one. Tests use the logits as they are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional

from ser_mlops.training.batching import Clips
from ser_mlops.training.recipe import Recipe


@dataclass(frozen=True)
class Loss:
    """The loss of a round; called with the logits of a batch and the indices of its clips."""

    recipe: Recipe
    weights_E: Tensor
    shift_E: Tensor | None
    """What is added to the logits."""
    targets_N: Tensor
    """Labels [N], or shares [N, E]."""
    clip_weights: np.ndarray
    """What each of the N clips counts in a mean: the weight of its emotion, or the mean weight of those it is trained towards."""

    @classmethod
    def of(cls, recipe: Recipe, train: Clips, device: torch.device) -> "Loss":
        """Return the loss for the training clips of a round."""
        counts_E = np.bincount(train.labels, minlength=len(train.emotions)) if train.targets is None else train.targets.sum(axis=0)
        weights_E = recipe.weigh_classes(counts_E)
        shift_E = None
        if recipe.loss == "logit_adjusted":
            shares_E = np.where(counts_E > 0, counts_E, 1) / counts_E.sum()
            shift_E = torch.tensor(recipe.logit_tau * np.log(shares_E), dtype=torch.float32, device=device)
        if train.targets is None:
            targets_N, clip_weights = torch.tensor(train.labels, device=device), weights_E[train.labels]
        else:
            targets_N, clip_weights = torch.tensor(train.targets, dtype=torch.float32, device=device), train.targets @ weights_E
        return cls(recipe, torch.tensor(weights_E, dtype=torch.float32, device=device), shift_E, targets_N, clip_weights)

    def __call__(self, logits_BE: Tensor, indices_B: np.ndarray) -> Tensor:
        """Return the sum of the clips' losses."""
        targets_B = self.targets_N[torch.from_numpy(indices_B).to(self.targets_N.device)]
        if self.recipe.loss == "focal":
            return self._focal(logits_BE, targets_B)
        adjusted_BE = logits_BE if self.shift_E is None else logits_BE + self.shift_E
        return functional.cross_entropy(
            adjusted_BE, targets_B, self.weights_E, reduction="sum", label_smoothing=self.recipe.label_smoothing
        )

    def _focal(self, logits_BE: Tensor, targets_B: Tensor) -> Tensor:
        num_emotions, smoothing = logits_BE.shape[1], self.recipe.label_smoothing
        shares_BE = targets_B if targets_B.ndim > 1 else functional.one_hot(targets_B, num_emotions).to(logits_BE.dtype)
        shares_BE = (1 - smoothing) * shares_BE + smoothing / num_emotions
        log_p_BE = functional.log_softmax(logits_BE, dim=1)
        wrong_BE = (1 - log_p_BE.exp()).clamp(min=torch.finfo(log_p_BE.dtype).tiny)  # a power of 0 has no gradient
        return -(self.weights_E * shares_BE * wrong_BE**self.recipe.focal_gamma * log_p_BE).sum()


def mean_cross_entropy(logits_NE: np.ndarray, targets_NE: np.ndarray) -> float:
    """Return the mean cross-entropy of clips towards their targets, in nats: the loss of a validation set, without weights."""
    log_p_NE = log_softmax(np.asarray(logits_NE, dtype=np.float64), axis=1)
    return float(-(targets_NE * log_p_NE).sum(axis=1).mean())
