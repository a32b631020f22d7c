"""The page of a comparison."""

import re

from ser_mlops.scores.comparison import compare
from ser_mlops.scores.comparison_page import comparison_page
from ser_mlops.scores.metrics import SELECTABLE
from tests.builders import tiny_predictions


def test_the_page_claims_first_and_names_every_score() -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    page = comparison_page(compare(experiments, seed=1), "Trained against untrained", "synthetic data")
    head = page.split("## Scores")[0]
    assert "**synthetic data**" in head
    assert "**trained** against **untrained**" in head
    assert "differs." in head
    assert all(re.search(rf"\| {name} +\|", page) for name in SELECTABLE)
    assert "nan" not in page
