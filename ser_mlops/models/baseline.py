"""The baseline: functionals of a clip, standardised, into a support vector machine or a logistic regression with balanced classes.

Neither answers with calibrated probabilities. Its scores are divided by one temperature, which the validation clips decide (Guo et al.,
2017): no prediction changes by that. Logits are logarithms of these probabilities. An emotion that no training clip has is given the
probability 1 / (N + 1) of being seen next, N training clips after which it has not been.

Files of a saved baseline, none of them a pickle: `pipeline.skops` (scikit-learn's objects, as skops writes them) and `baseline.json`.

Shape letters: N clips, D numbers of a clip, E classes, K classes that training clips have.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import ModelError, TrainingError
from ser_mlops.files import write_text
from ser_mlops.models.vectors import BASELINE_FACTS

PIPELINE_FILE = "pipeline.skops"
TEMPERATURES = (0.2, 100.0)
"""Between these: a few validation clips that are all right would ask for certainty (1e-109 for the others, on 9 clips)."""
MAX_ITERATIONS = 5000
"""Of the logistic regression; the corpora take a few hundred."""


def _svm(C: float, gamma: float | str) -> SVC:
    return SVC(C=C, kernel="rbf", gamma=gamma, class_weight="balanced", break_ties=True)  # so that `predict` is the argmax of the scores


def _logistic(C: float, gamma: float | str) -> LogisticRegression:
    return LogisticRegression(C=C, class_weight="balanced", max_iter=MAX_ITERATIONS)


CLASSIFIERS: Mapping[str, Callable[[float, float | str], BaseEstimator]] = {"svm": _svm, "logistic": _logistic}


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline."""

    pipeline: Pipeline
    features: str
    """Which vectors of a clip it takes: a key of `vectors.VECTORS`."""
    num_clips: int
    """That it was trained on."""
    temperature: float = 1.0
    emotions: tuple[str, ...] = EMOTIONS
    """The names of the classes, whose numbers are the labels."""

    def logits(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Return logits_NE, float32: the logarithms of the probabilities."""
        scaled_NK = log_softmax(self._scores(vectors_ND) / self.temperature, axis=1)
        unseen = 1 / (self.num_clips + 1)
        seen_K = self._labels()
        num_unseen = len(self.emotions) - len(seen_K)
        logits_NE = np.full((len(vectors_ND), len(self.emotions)), np.log(unseen))
        logits_NE[:, seen_K] = scaled_NK + np.log1p(-num_unseen * unseen)
        return logits_NE.astype(np.float32)

    def calibrated(self, vectors_ND: np.ndarray, labels_N: np.ndarray) -> "Baseline":
        """Return this baseline with the temperature at which these clips, which it was not trained on, have the lowest loss."""
        seen_K = self._labels()
        known_N = np.isin(labels_N, seen_K)
        if not known_N.any():
            return self
        scores_NK, places_N = self._scores(vectors_ND[known_N]), np.searchsorted(seen_K, labels_N[known_N])

        def loss(log_temperature: float) -> float:
            return float(-log_softmax(scores_NK / np.exp(log_temperature), axis=1)[np.arange(len(places_N)), places_N].mean())

        found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
        return replace(self, temperature=float(np.exp(found.x)))

    @property
    def num_parameters(self) -> int:
        """Return how many numbers were fitted: weights and intercepts, or support vectors and what they weigh."""
        fitted = self.pipeline[-1]
        names = ("support_vectors_", "dual_coef_", "intercept_") if isinstance(fitted, SVC) else ("coef_", "intercept_")
        return sum(getattr(fitted, name).size for name in names)

    def _labels(self) -> np.ndarray:
        return np.asarray(self.pipeline.classes_)

    def _scores(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Return scores_NK, whose argmax is what scikit-learn predicts."""
        with threadpool_limits(1):
            scores = self.pipeline.decision_function(vectors_ND.astype(np.float64))
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def save(self, folder: Path) -> None:
        """Write the files of a baseline into a folder."""
        from skops import io

        folder.mkdir(parents=True, exist_ok=True)
        io.dump(self.pipeline, folder / PIPELINE_FILE)
        facts = {
            "features": self.features,
            "training_clips": self.num_clips,
            "temperature": self.temperature,
            "emotions": list(self.emotions),
        }
        write_text(folder / BASELINE_FACTS, json.dumps(facts, indent=2) + "\n")


def fit_baseline(
    vectors_ND: np.ndarray,
    labels_N: np.ndarray,
    emotions: Sequence[str] = EMOTIONS,
    *,
    features: str,
    classifier: str,
    C: float,
    gamma: float | str,
) -> Baseline:
    """Fit standardisation and classifier to training clips. The same clips in the same order give the same numbers.

    Raises:
        TrainingError: all clips have one emotion, or the classifier does not converge.
    """
    present = np.unique(labels_N)
    if len(present) < 2:
        raise TrainingError(f"every training clip is {emotions[present[0]]}: {classifier} needs two emotions")
    pipeline = make_pipeline(StandardScaler(), CLASSIFIERS[classifier](C, gamma))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            pipeline.fit(vectors_ND.astype(np.float64), labels_N)
        except ConvergenceWarning as warning:
            raise TrainingError(f"{classifier} with C={C:g} does not converge in {MAX_ITERATIONS} iterations: lower C") from warning
    return Baseline(pipeline, features, len(labels_N), emotions=tuple(emotions))


def open_baseline(folder: Path) -> Baseline:
    """Open what `Baseline.save` wrote; no type is created that skops does not trust.

    Raises:
        ModelError: a file is missing, damaged, or holds such a type.
    """
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        facts = json.loads((folder / BASELINE_FACTS).read_text(encoding="utf-8"))
        pipeline = io.load(folder / PIPELINE_FILE, trusted=[])
        emotions = tuple(map(str, facts.get("emotions", EMOTIONS)))  # older ones have none
        return Baseline(pipeline, str(facts["features"]), int(facts["training_clips"]), float(facts["temperature"]), emotions)
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{folder / PIPELINE_FILE} holds types that no baseline has: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{folder} holds no readable baseline: {' '.join(str(error).split())[:300]}") from error
