"""Prediction tables."""

import numpy as np
import pytest
from scipy.special import softmax

from ser_mlops.scores.predictions import confusion_of, ensemble_of, logits_of
from tests.builders import tiny_predictions
from tests.scores.builders import answered


def test_confusion_counts_true_labels_in_rows() -> None:
    counts = confusion_of(answered("aaa", [0, 0, 3], [0, 6, 3]))
    assert (counts[0, 0], counts[0, 6], counts[3, 3], counts.sum()) == (1, 1, 1, 3)


def test_an_ensembles_probabilities_are_the_mean_of_those_of_its_rounds() -> None:
    rounds = [tiny_predictions(1, seed) for seed in range(3)]
    shuffled = [rounds[0], rounds[1].sample(frac=1, random_state=1), rounds[2]]
    ensemble = ensemble_of(shuffled).set_index("path").loc[rounds[0]["path"]]
    expected = np.mean([softmax(logits_of(table), axis=1) for table in rounds], axis=0)
    assert np.exp(logits_of(ensemble)) == pytest.approx(expected, abs=1e-12)
    assert ensemble["labels"].tolist() == rounds[0]["labels"].tolist()


def test_the_ensemble_of_one_round_answers_as_it_does() -> None:
    (table,) = rounds = [tiny_predictions(1, 0)]
    assert ensemble_of(rounds).set_index("path").loc[table["path"], "predicted"].tolist() == table["predicted"].tolist()
