"""Linear probes: they find what is there, nothing where nothing is, and no group is on two sides."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from ser_mlops.models.probes import (
    FOLDS,
    balanced_accuracy,
    folds_by_group,
    folds_within_classes,
    held_out_answers,
    in_two_dimensions,
    side_by_side,
)

RANDOM = np.random.default_rng(5)
GROUPS = np.repeat([f"s{number}" for number in range(10)], 12).astype(object)
CLASSES = np.tile(np.arange(4), 30)
NOISE = RANDOM.normal(size=(120, 6)).astype(np.float32)
SIGNAL = NOISE + 3 * np.eye(4, 6, dtype=np.float32)[CLASSES]


def test_a_probe_finds_what_is_there_and_nothing_in_noise():
    folds = folds_by_group(CLASSES, GROUPS, seed=1)
    assert balanced_accuracy(held_out_answers(SIGNAL, CLASSES, folds), CLASSES) > 0.9
    assert balanced_accuracy(held_out_answers(NOISE, CLASSES, folds), CLASSES) < 0.4


def test_no_group_is_in_two_folds_and_every_class_is_in_all():
    folds = folds_by_group(CLASSES, GROUPS, seed=1)
    assert all(len(set(folds[group == GROUPS])) == 1 for group in set(GROUPS))
    assert all(set(folds[name == CLASSES]) == set(range(FOLDS)) for name in set(CLASSES))
    assert folds_by_group(CLASSES, GROUPS, seed=1).tolist() == folds.tolist()
    assert folds_by_group(CLASSES, np.zeros(120, dtype=object), seed=1).tolist() == [-1] * 120


def test_classes_with_few_clips_are_left_out_of_folds_that_hold_every_class():
    folds = folds_within_classes(np.append(GROUPS, ["rare"] * 3), seed=1)
    assert folds[-3:].tolist() == [-1] * 3
    assert all(set(folds[:-3][group == GROUPS]) == set(range(FOLDS)) for group in set(GROUPS))


def test_answers_are_those_of_plain_scikit_learn():
    folds = np.arange(120) % 3
    expected = np.zeros((120, 4))
    for fold in range(3):
        scaler = StandardScaler().fit(SIGNAL[folds != fold].astype(float))
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.25] * 4)
        analysis.fit(scaler.transform(SIGNAL[folds != fold].astype(float)), CLASSES[folds != fold])
        expected[folds == fold] = analysis.predict_log_proba(scaler.transform(SIGNAL[folds == fold].astype(float)))
    np.testing.assert_allclose(held_out_answers(SIGNAL, CLASSES, folds), expected, rtol=1e-9)


def test_a_class_that_training_lacks_is_never_the_answer_and_fold_minus_one_is_not_tested():
    folds = np.where(CLASSES == 3, 0, np.where(np.arange(120) < 60, 0, -1))
    answers = held_out_answers(SIGNAL, CLASSES, folds)
    assert np.isneginf(answers[folds == 0][:, 3]).all()
    assert np.isneginf(answers[folds == -1]).all()
    assert np.isfinite(answers[folds == 0][:, :3]).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_depend_on_no_number_of_workers(workers):
    def probe(shift: int) -> float:
        return float(held_out_answers(np.roll(SIGNAL, shift, axis=1), CLASSES, np.arange(120) % 3).sum())

    assert [*side_by_side(probe, range(6), workers)] == [probe(shift) for shift in range(6)]


def test_two_dimensions_are_the_same_for_the_same_seed_and_keep_what_is_apart_apart():
    pca, tsne, shares = in_two_dimensions(SIGNAL, seed=1)
    again = in_two_dimensions(SIGNAL, seed=1)
    np.testing.assert_array_equal(pca, again[0])
    np.testing.assert_array_equal(tsne, again[1])
    assert pca.shape == tsne.shape == (120, 2)
    assert 1 > shares[0] >= shares[1] > 0
    centres = np.array([tsne[name == CLASSES].mean(axis=0) for name in range(4)])
    nearest = np.linalg.norm(tsne[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == CLASSES).mean() > 0.8
