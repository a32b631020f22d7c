"""Randomness as a function: what is drawn follows from the seed and from what it is drawn for, never from what ran before."""

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**63) for one purpose: the first eight bytes of a SHA-256 over the base seed and the purpose.

    >>> derive(19730309, "batches", 0, 1) == derive(19730309, "batches", 0, 1)
    True
    >>> derive(19730309, "batches", 0, 1) == derive(19730309, "batches", 1, 0)
    False
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a numpy generator for one purpose; see `derive`."""
    return np.random.default_rng(derive(seed, *purpose))
