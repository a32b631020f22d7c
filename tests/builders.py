"""Tiny inputs that tests build instead of keeping files of them."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser_mlops.data.frames import NO_FOLD, conform
from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.predictions import prediction_table


def tiny_frame(corpus: str, folds: Mapping[str, int], labels: Sequence[int] = (0, 1, 2), texts: Sequence[str] = "ab") -> pd.DataFrame:
    """A frame in which every speaker, named with its fold, says every text with every emotion, one second each."""
    return _frame(corpus, [(speaker, fold, "") for speaker, fold in folds.items()], labels, texts)


def parted_frame(corpus: str, parts: Mapping[str, str], labels: Sequence[int] = (0, 1, 2), texts: Sequence[str] = "ab") -> pd.DataFrame:
    """The same for a corpus with official partitions: every speaker is named with its part."""
    return _frame(corpus, [(speaker, NO_FOLD, part) for speaker, part in parts.items()], labels, texts)


def _frame(corpus: str, speakers: list[tuple[str, int, str]], labels: Sequence[int], texts: Sequence[str]) -> pd.DataFrame:
    rows = [
        {
            "path": f"{corpus}/{speaker}_{text}_{label}.wav",
            "labels": label,
            "speaker": f"{corpus}/{speaker}",
            "text": text,
            "group": f"{corpus}/{speaker}",
            "fold": fold,
            "part": part,
        }
        for speaker, fold, part in speakers
        for text in texts
        for label in labels
    ]
    table = pd.DataFrame(rows).assign(corpus=corpus, gender="female", language="en", num_samples=16000)
    table["start"] = 16000 * table.index
    table["sha256"] = [hashlib.sha256(path.encode()).hexdigest() for path in table["path"]]
    return conform(table, f"frame of {corpus}")


def tiny_predictions(skill: float, seed: int, speakers: int = 8, takes: int = 4, labels: Sequence[int] = range(6)) -> pd.DataFrame:
    """A prediction table: every speaker says every label `takes` times; `skill` is added to the right logit, noise to all.

    The clips and how hard each is are the same for all seeds.
    """
    rows = [(speaker, take, label) for speaker in range(speakers) for take in range(takes) for label in labels]
    clips = pd.DataFrame(rows, columns=["number", "take", "labels"])
    clips["path"] = [f"CREMA/{speaker}_{take}_{label}.wav" for speaker, take, label in rows]
    clips["corpus"], clips["language"] = "CREMA", "en"
    clips["speaker"] = "CREMA/" + clips["number"].astype(str)
    clips["gender"] = np.where(clips["number"] % 2, "female", "male")
    hardness = np.random.default_rng(0).normal(0, 0.5, len(clips))
    logits = np.random.default_rng(seed + 1).normal(0, 1, (len(clips), len(EMOTIONS)))
    logits[np.arange(len(clips)), clips["labels"]] += skill - hardness
    return prediction_table(clips, logits)
