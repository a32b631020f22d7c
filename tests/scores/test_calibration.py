"""Calibration against examples worked out by hand."""

import pandas as pd
import pytest

from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.predictions import logits_of
from tests.scores.builders import answered


def test_calibration_error_is_the_one_worked_out_by_hand() -> None:
    # Bin (0.9, 1]: two clips, both right, confidence 0.95: off by 0.05. Bin (0.6, 0.7]: two clips, one right, 0.65: off by 0.15.
    sure = answered("aa", [0, 1], [0, 1], confidence=0.95)
    unsure = answered("aa", [0, 1], [0, 0], confidence=0.65)
    table = pd.concat([sure, unsure])
    bins = calibration(logits_of(table), table["labels"].to_numpy())
    assert bins["clips"].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert expected_calibration_error(bins) == pytest.approx(0.10)


def test_a_model_that_is_always_sure_and_right_is_calibrated() -> None:
    table = answered("ab", [0, 1], [0, 1], confidence=1 - 1e-12)
    assert expected_calibration_error(calibration(logits_of(table), table["labels"].to_numpy())) == pytest.approx(0, abs=1e-9)
