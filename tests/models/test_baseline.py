"""The baseline: a plain scikit-learn pipeline whose answers are log-probabilities of all seven emotions."""

import json
import pickle

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import ModelError, TrainingError
from ser_mlops.models.baseline import CLASSIFIERS, PIPELINE_FILE, Baseline, fit_baseline, open_baseline
from ser_mlops.models.vectors import BASELINE_FACTS

SEEN = np.array([0, 2, 3, 5])
PLAIN = {
    "svm": SVC(C=2.0, gamma="scale", class_weight="balanced", break_ties=True),
    "logistic": LogisticRegression(C=2.0, class_weight="balanced", max_iter=5000),
}


def clips(count: int, seed: int, labels: np.ndarray = SEEN) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around one centre per emotion."""
    random = np.random.default_rng(seed)
    drawn = random.choice(labels, count)
    return (random.standard_normal((count, 12)) + 1.2 * np.eye(12)[drawn]).astype(np.float32) * 50, drawn


def fitted(classifier: str, labels: np.ndarray = SEEN) -> Baseline:
    return fit_baseline(*clips(160, 1, labels), features="functionals", classifier=classifier, C=2.0, gamma="scale")


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("labels", [SEEN, np.array([1, 4])], ids=["four emotions", "two emotions"])
def test_predictions_are_those_of_plain_scikit_learn(classifier, labels):
    train, test = clips(160, 1, labels), clips(90, 2, labels)
    plain = make_pipeline(StandardScaler(), PLAIN[classifier]).fit(train[0].astype(np.float64), train[1])
    logits = fitted(classifier, labels).calibrated(*clips(60, 3, labels)).logits(test[0])
    assert logits.argmax(axis=1).tolist() == plain.predict(test[0].astype(np.float64)).tolist()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_logits_are_log_probabilities_and_an_unseen_emotion_is_unlikely(classifier):
    logits = fitted(classifier).logits(clips(90, 2)[0])
    assert logits.shape == (90, len(EMOTIONS))
    assert logits.dtype == np.float32
    assert np.exp(logits.astype(np.float64)).sum(axis=1) == pytest.approx(1)
    unseen = np.setdiff1d(np.arange(len(EMOTIONS)), SEEN)
    assert np.exp(logits[:, unseen]) == pytest.approx(1 / 161)
    assert not np.isin(logits.argmax(axis=1), unseen).any()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_calibration_lowers_the_loss_on_its_clips_and_moves_no_prediction(classifier):
    before, (vectors, labels) = fitted(classifier), clips(400, 4)
    after = before.calibrated(vectors, labels)

    def loss(baseline: Baseline) -> float:
        return float(-log_softmax(baseline.logits(vectors).astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())

    assert loss(after) < loss(before)
    assert (after.logits(vectors).argmax(axis=1) == before.logits(vectors).argmax(axis=1)).all()
    nearby = [Baseline(after.pipeline, "functionals", after.num_clips, after.temperature * factor) for factor in (0.9, 1.1)]
    assert all(loss(after) < loss(other) for other in nearby)


def test_validation_without_any_trained_emotion_leaves_the_temperature_alone():
    vectors, _ = clips(5, 4)
    assert fitted("svm").calibrated(vectors, np.full(5, 6)).temperature == 1.0


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_bits_do_not_depend_on_threads(classifier):
    expected = fitted(classifier).logits(clips(90, 2)[0])
    with threadpool_limits(2):
        assert fitted(classifier).logits(clips(90, 2)[0]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_saved_baseline_answers_as_before(classifier, tmp_path):
    before = fitted(classifier).calibrated(*clips(60, 3))
    before.save(tmp_path)
    after = open_baseline(tmp_path)
    assert after.logits(clips(90, 2)[0]).tobytes() == before.logits(clips(90, 2)[0]).tobytes()
    assert (after.features, after.num_clips, after.temperature) == ("functionals", 160, before.temperature)
    assert after.num_parameters == before.num_parameters > 0


def test_a_pickle_in_place_of_the_pipeline_is_not_executed(tmp_path):
    fitted("svm").save(tmp_path)
    (tmp_path / PIPELINE_FILE).write_bytes(pickle.dumps(fitted("svm").pipeline))
    with pytest.raises(ModelError, match="holds no readable baseline"):
        open_baseline(tmp_path)


def test_types_that_no_baseline_has_are_refused(tmp_path):
    from skops import io

    fitted("svm").save(tmp_path)
    io.dump(make_pipeline(StandardScaler(), Stranger()), tmp_path / PIPELINE_FILE)
    with pytest.raises(ModelError, match=r"holds types that no baseline has: .*Stranger"):
        open_baseline(tmp_path)


class Stranger(SVC):
    """An estimator that skops does not trust."""


def test_a_folder_without_facts_is_refused(tmp_path):
    fitted("svm").save(tmp_path)
    (tmp_path / BASELINE_FACTS).write_text(json.dumps({"features": "functionals"}))
    with pytest.raises(ModelError, match="training_clips"):
        open_baseline(tmp_path)


def test_training_clips_of_one_emotion_are_refused():
    with pytest.raises(TrainingError, match="every training clip is sad: svm needs two emotions"):
        fitted("svm", np.array([2]))
