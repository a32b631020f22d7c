"""What listeners heard: how far they agree with each other, and with the label that a corpus gives its clips."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ser_mlops.data.corpora.base import TIE
from ser_mlops.emotions import EMOTIONS, OTHER, VOTES
from ser_mlops.scores.raters import fleiss_kappa

ALL = "all"
HEARD = (*EMOTIONS, OTHER, TIE)


def heard_by_label(catalogue: pd.DataFrame, emotions: Mapping[str, str]) -> pd.DataFrame:
    """Return how many clips of each label most listeners heard as what: rows are labels before any rule, columns HEARD.

    Args:
        catalogue: the catalogue of a corpus.
        emotions: its emotion table.
    """
    asked = catalogue[catalogue["perceived"] != ""]
    heard = asked["perceived"].where(asked["perceived"].isin([*EMOTIONS, TIE]), OTHER)
    counts = pd.crosstab(asked["code"].map(emotions), heard)
    order = [*(emotion for emotion in EMOTIONS if emotion in counts.index), *sorted(set(counts.index) - set(EMOTIONS))]
    return counts.reindex(index=order, columns=list(HEARD), fill_value=0).rename_axis(index="label", columns="heard")


def agreement(catalogue: pd.DataFrame, emotions: Mapping[str, str]) -> pd.DataFrame:
    """Return how far listeners agree, a row for each label and one for all of them.

    Columns: label; clips (heard by anybody); as_label and ties (shares of them: most listeners heard the label, several emotions lead);
    votes (per clip) and entropy (of a clip's votes, in bits, mean), NaN where only the majority is known; kappa (Fleiss') of all
    clips together, since its chance is that of answers to all labels.
    """
    asked = catalogue[catalogue["perceived"] != ""]
    labels = asked["code"].map(emotions)
    rows = [_agreement(label, asked[labels == label], label) for label in heard_by_label(catalogue, emotions).index]
    return pd.DataFrame([*rows, _agreement(ALL, asked, labels) | {"kappa": fleiss_kappa(asked[list(VOTES)].to_numpy())}])


def _agreement(name: str, clips: pd.DataFrame, label: "str | pd.Series[str]") -> dict[str, object]:
    votes_NV = clips[list(VOTES)].to_numpy()
    votes_NV = votes_NV[votes_NV.sum(axis=1) > 0]
    return {
        "label": name,
        "clips": len(clips),
        "as_label": float((clips["perceived"] == label).mean()),
        "ties": float((clips["perceived"] == TIE).mean()),
        "votes": float(votes_NV.sum(axis=1).mean()) if len(votes_NV) else np.nan,
        "entropy": float(entropies(votes_NV).mean()) if len(votes_NV) else np.nan,
        "kappa": np.nan,
    }


def entropies(votes_NV: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of each clip's votes: 0 where all heard the same.

    >>> entropies(np.array([[5, 5, 0], [7, 0, 0]])).tolist()
    [1.0, 0.0]
    """
    shares_NV = votes_NV / votes_NV.sum(axis=1, keepdims=True)
    return -(shares_NV * np.log2(shares_NV, where=shares_NV > 0, out=np.zeros(shares_NV.shape))).sum(axis=1) + 0.0
