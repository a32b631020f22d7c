"""Calibration: whether a model that is 70 % sure is right in 70 % of cases."""

import numpy as np
import pandas as pd
from scipy.special import softmax


def calibration(logits_NE: np.ndarray, labels_N: np.ndarray, num_bins: int = 10) -> pd.DataFrame:
    """Return clips, mean confidence and accuracy of equally wide bins (low, high] of the largest probability."""
    probabilities_NE = softmax(np.asarray(logits_NE, dtype=np.float64), axis=1)
    confidence_N = probabilities_NE.max(axis=1)
    is_right_N = probabilities_NE.argmax(axis=1) == labels_N
    edges = np.linspace(0, 1, num_bins + 1)
    bins_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, num_bins - 1)
    clips = np.bincount(bins_N, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins_N, weights=confidence_N, minlength=num_bins) / clips
        accuracy = np.bincount(bins_N, weights=is_right_N, minlength=num_bins) / clips
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "clips": clips, "confidence": confidence, "accuracy": accuracy})


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Return the mean distance of confidence and accuracy over the bins of `calibration`, weighted by clips (Naeini et al., 2015)."""
    return float(((bins["confidence"] - bins["accuracy"]).abs() * bins["clips"]).sum() / bins["clips"].sum())
