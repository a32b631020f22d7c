"""Which clips an epoch sees: all of them, or as many draws shared equally among emotions, speakers and corpora.

What is drawn is a function of seed, round and epoch, so that a resumed round draws what an undisturbed one does.
"""

from collections.abc import Sequence

import numpy as np

from ser_mlops.seeds import rng
from ser_mlops.training.batching import Clips

KEYS = {"natural": (), "balanced": ("labels", "speakers"), "corpora": ("corpora", "labels", "speakers")}
"""What the draws are shared among, one within the other, by the setting `sample`."""


def draw_epoch(clips: Clips, sample: str, *, seed: int, round: int, epoch: int) -> np.ndarray:
    """Return the indices of the clips that an epoch sees, in the order of the clips: as many as there are clips, some perhaps twice.

    natural: every clip once. balanced: every emotion as often as any other, and within an emotion every speaker. corpora: every corpus as
    often as any other, and within a corpus as balanced. Equal but for the remainders, which fall to groups at random. A clip comes again
    only when all of its group have been drawn. A clip without a label counts as the emotion that most listeners heard.
    """
    indices = np.arange(len(clips))
    if not KEYS[sample]:
        return indices
    keys = [np.unique(getattr(clips, name), return_inverse=True)[1] for name in KEYS[sample]]
    return np.sort(_draw(indices, keys, len(clips), rng(seed, "sample", round, epoch)))


def _draw(indices: np.ndarray, keys: Sequence[np.ndarray], count: int, random: np.random.Generator) -> np.ndarray:
    """Draw `count` of the indices, shared equally among the values of the first key, and so on."""
    if not keys:
        whole, rest = divmod(count, len(indices))
        return np.concatenate([np.tile(indices, whole), random.permutation(indices)[:rest]])
    groups = [indices[keys[0][indices] == value] for value in np.unique(keys[0][indices])]
    whole, rest = divmod(count, len(groups))
    gets_one_more = np.isin(np.arange(len(groups)), random.permutation(len(groups))[:rest])
    return np.concatenate([_draw(group, keys[1:], whole + more, random) for group, more in zip(groups, gets_one_more, strict=True)])
