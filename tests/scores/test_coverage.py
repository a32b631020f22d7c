"""The promises of docs/statistics.md on a small simulation; `python -m benchmarks.coverage` is the whole one."""

import numpy as np
import pytest

from benchmarks.coverage import EASE, PAGE, claims, coverage, truth


def test_the_truth_of_the_simulation_is_what_many_drawn_speakers_score_on_average() -> None:
    random = np.random.default_rng(0)
    spread = np.sqrt(0.5**2 + 0.3**2 + 0.15**2)
    shares = 1 / (1 + np.exp(-(EASE + random.normal(0, spread, (200_000, 1)))))
    assert truth(0.15)[0] == pytest.approx(shares.mean(), abs=0.002)


def test_the_page_holds_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("bootstrap, uar") == 1
    assert page.count("claimed to differ") == 1


@pytest.mark.slow
def test_intervals_cover_and_claims_are_rare() -> None:
    """Of 200 repeats, 95 % ± 1.5 % are expected to cover; 90 % is three standard deviations below."""
    table = list(coverage(200))
    assert min(row[f"interval, {score}"] for row in table for score in ("uar", "accuracy")) > 0.90
    for row in claims(200):
        if row["better by (logits)"]:
            assert row["claimed to differ"] > 0.95
        else:
            assert row["claimed to differ"] < 0.10
            assert row["claimed to differ"] == 0 or row["speakers"] >= 6
