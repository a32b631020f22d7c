"""Trains one round of the baseline: one fit to the training clips, its temperature by the validation clips.

Nothing in it is random: rounds of one experiment, which share their clips, are equal.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ser_mlops.models.baseline import Baseline, fit_baseline
from ser_mlops.scores.metrics import score
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.recorder import Recorder
from ser_mlops.training.round import Fitted
from ser_mlops.training.vectors import vectors_of


@dataclass(frozen=True)
class BaselineRecipe:
    """The section `baseline` of the settings, under the same names."""

    features: str
    classifier: str
    C: float
    gamma: float | str


def fit_baseline_round(recipe: BaselineRecipe, train: Clips, validation: Clips, vectors: Features, recorder: Recorder) -> Fitted[Baseline]:
    """Fit the baseline and score it on the validation clips, as one epoch.

    Metrics: val/… (all of `metrics.score`), temperature, seconds.

    Raises:
        TrainingError: all training clips have one emotion, or the fit does not converge.
    """
    started = time.perf_counter()
    baseline = fit_baseline(vectors_of(vectors, train), train.labels, train.emotions, **asdict(recipe))
    validated_ND = vectors_of(vectors, validation)
    baseline = baseline.calibrated(validated_ND, validation.labels)
    scores = score(baseline.logits(validated_ND), validation.labels, set(train.labels.tolist()), train.emotions)
    metrics: Mapping[str, float] = {
        **{f"val/{name}": value for name, value in scores.items()},
        "temperature": baseline.temperature,
        "seconds": time.perf_counter() - started,
    }
    recorder.epoch(1, metrics)
    return Fitted(
        classifier=baseline,
        best_epoch=1,
        best_scores=scores,
        history=[dict(metrics)],
        num_trainable=baseline.num_parameters,
        num_frozen=0,
    )


def predict_baseline(baseline: Baseline, clips: Clips, vectors: Features) -> np.ndarray:
    """Return logits_NE, float32, in the order of the clips."""
    return baseline.logits(vectors_of(vectors, clips))
