"""How far raters agree, against an example worked out in print."""

import numpy as np
import pytest

from ser_mlops.scores.raters import fleiss_kappa


def test_kappa_is_that_of_the_worked_example_of_fourteen_raters():
    """Ten subjects, fourteen raters, five categories: 0.210 in every textbook."""
    votes = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]]
    votes += [[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    assert fleiss_kappa(np.array(votes)) == pytest.approx(0.2099, abs=1e-4)


def test_kappa_ignores_single_votes_and_is_unknown_without_two():
    two = np.array([[3, 0], [0, 3]])
    assert fleiss_kappa(two) == 1.0 == fleiss_kappa(np.vstack([two, [[1, 0]]]))
    assert np.isnan(fleiss_kappa(np.array([[1, 0]])))
    assert np.isnan(fleiss_kappa(np.array([[4, 0]])))
