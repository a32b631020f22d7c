"""Scores of a whole test set, computed once over all its clips with a fixed label list.

N clips, E = 7 emotions. Definitions:

- uar: mean of the recalls of the emotions present in the test set (balanced accuracy, "UA"); argmax over all seven.
- uar_shared: the same over the clips whose emotion both training and test have, argmax restricted to those emotions;
  chance: 1 / their number.
- accuracy: share of clips that are right ("WA").
- f1_macro, f1_weighted: F1 per emotion present in the test set, averaged plainly or by support. The label list is that of the test
  set, whatever was predicted, so a model cannot change what it is averaged over.
- recall/<emotion>: per emotion present in the test set.
- loss: mean cross-entropy over clips, in nats, unweighted and without smoothing.
"""

from collections.abc import Collection

import numpy as np
from scipy.special import log_softmax

from ser_mlops.emotions import EMOTIONS

SELECTABLE = ("uar", "accuracy", "f1_macro", "f1_weighted", "loss")
LOWER_IS_BETTER = frozenset({"loss"})


def score(logits_NE: np.ndarray, labels_N: np.ndarray, trained_labels: Collection[int]) -> dict[str, float]:
    """Return every score of a test (or validation) set; definitions in the module's docstring.

    `trained_labels` are the labels that the training clips have. Where the two sides share no emotion, `uar_shared` and
    `chance` are left out.

    >>> logits = np.log(np.array([[8, 1, 1, 1, 1, 1, 1], [1, 8, 1, 1, 1, 1, 1], [8, 1, 1, 1, 1, 1, 1]]))
    >>> scores = score(logits, np.array([0, 1, 1]), {0, 1})
    >>> scores["uar"], scores["chance"], round(scores["accuracy"], 3)
    (0.75, 0.5, 0.667)
    """
    logits_NE = np.asarray(logits_NE, dtype=np.float64)
    labels_N = np.asarray(labels_N)
    assert len(labels_N) > 0
    assert logits_NE.shape == (len(labels_N), len(EMOTIONS))
    present = np.unique(labels_N)
    predicted_N = logits_NE.argmax(axis=1)
    recalls, f1s, supports = _by_emotion(labels_N, predicted_N, present)
    scores = {
        "uar": float(recalls.mean()),
        "accuracy": float(np.mean(predicted_N == labels_N)),
        "f1_macro": float(f1s.mean()),
        "f1_weighted": float(np.average(f1s, weights=supports)),
        "loss": float(-log_softmax(logits_NE, axis=1)[np.arange(len(labels_N)), labels_N].mean()),
    }
    shared = np.intersect1d(present, np.fromiter(trained_labels, dtype=np.int64))
    if len(shared):
        kept = np.isin(labels_N, shared)
        restricted_N = shared[logits_NE[kept][:, shared].argmax(axis=1)]
        scores["uar_shared"] = float(_by_emotion(labels_N[kept], restricted_N, shared)[0].mean())
        scores["chance"] = 1.0 / len(shared)
    for label, recall in zip(present, recalls, strict=True):
        scores[f"recall/{EMOTIONS[label]}"] = float(recall)
    return scores


def _by_emotion(labels_N: np.ndarray, predicted_N: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return recall, F1 and number of clips of each emotion present, from the confusion matrix (true labels in rows)."""
    num_emotions = len(EMOTIONS)
    counts_EE = np.bincount(labels_N * num_emotions + predicted_N, minlength=num_emotions**2).reshape(num_emotions, num_emotions)
    right, supports, predicted = (counts[present] for counts in (counts_EE.diagonal(), counts_EE.sum(axis=1), counts_EE.sum(axis=0)))
    return right / supports, 2 * right / (supports + predicted), supports


def is_better(name: str, value: float, than: float) -> bool:
    """Say whether a score beats another strictly; a loss is better when lower."""
    return value < than if name in LOWER_IS_BETTER else value > than
