"""The figures of a round and of an experiment, by the names under which their runs hold them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_mlops.emotions import EMOTIONS
from ser_mlops.experiments.results import Result, cross_table, results_by_test, rounds_of
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.figures.emotions import distribution
from ser_mlops.scores.figures.testing import confusion, cross_corpus, reliability
from ser_mlops.scores.figures.training import round_curves, rounds_curves
from ser_mlops.scores.predictions import LOGITS, confusion_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = 12
"""With more rounds than this, their curves would hide each other."""


def round_figures(result: Result, note: str) -> "Iterator[tuple[str, Figure]]":
    """Draw one round: its epochs, the emotions of its sides, and how it did on each test set."""
    title = f"{result.training.name}, round {result.round}"
    counts = {side: np.bincount(frame["labels"], minlength=len(EMOTIONS)) for side, frame in result.training.sides.items()}
    yield "curves", round_curves(result.history, result.best_epoch, title, note)
    yield "distribution", distribution(pd.DataFrame(counts, index=list(EMOTIONS)), title, note)
    for name, table in result.tables.items():
        yield from _test_figures(name, table, f"{title}, tested on {name}", note)


def summary_figures(name: str, results: Sequence[Result], note: str) -> "Iterator[tuple[str, Figure]]":
    """Draw all rounds of an experiment: their curves, the table of corpora where there are several, and the tests of all together."""
    if len(results) <= MAX_CURVES:
        histories = {f"{result.training.name} round {result.round}": result.history for result in results}
        best = {f"{result.training.name} round {result.round}": result.best_epoch for result in results}
        yield "rounds_curves", rounds_curves(histories, best, name, note)
    uar, shared, chance = (cross_table(results, score) for score in ("uar", "uar_shared", "chance"))
    if uar.size > 1:
        yield "matrix", cross_corpus(uar, shared.reindex_like(uar), chance.reindex_like(uar), name, note)
    if "" in (by_test := results_by_test(results)):
        yield from _test_figures("all_rounds", pd.concat(rounds_of(by_test[""]), ignore_index=True), f"{name}, all rounds", note)


def _test_figures(name: str, table: pd.DataFrame, title: str, note: str) -> "Iterator[tuple[str, Figure]]":
    bins = calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())
    yield f"confusion_{name}", confusion(confusion_of(table), title, note)
    yield f"reliability_{name}", reliability(bins, expected_calibration_error(bins), title, note)
