"""The figures of a round and of an experiment, by the names under which their runs hold them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_mlops.experiments.results import ExperimentSummary, Result, results_by_test, rounds_of
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.predictions import LOGIT, confusion_of, emotions_of, logits_of
from ser_mlops.training.recorder import LAYER_WEIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING_LOSS = "train/loss"
MAX_CURVES = 12
"""With more rounds than this, their curves would hide each other."""


@dataclass(frozen=True)
class RoundDrawing:
    """What the figures of one round show, small enough to be sent to another process."""

    title: str
    history: pd.DataFrame
    best_epoch: int
    counts: pd.DataFrame
    """Clips by side and emotion."""
    tables: Mapping[str, pd.DataFrame]
    """Prediction tables by test set."""
    note: str
    figures: str
    """png, pdf, both or none."""

    @classmethod
    def of(cls, result: Result, note: str, figures: str) -> "RoundDrawing":
        emotions = result.training.space.classes
        counts = {side: np.bincount(frame["labels"], minlength=len(emotions)) for side, frame in result.training.sides.items()}
        title = f"{result.training.name}, round {result.round}"
        columns = ["labels", "predicted", *(f"{LOGIT}{emotion}" for emotion in emotions)]
        tables = {name: table[columns] for name, table in result.tables.items()}
        return cls(title, result.history, result.best_epoch, pd.DataFrame(counts, index=list(emotions)), tables, note, figures)

    @property
    def has_curves(self) -> bool:
        """Whether there are epochs to draw, which the baseline has not."""
        return TRAINING_LOSS in self.history

    @property
    def weighs_layers(self) -> bool:
        """Whether the head takes a learned sum of layers."""
        return any(str(column).startswith(LAYER_WEIGHT) for column in self.history)

    @property
    def names(self) -> list[str]:
        """Names of the figures, in the order in which they are drawn."""
        curves = ["curves"] if self.has_curves else []
        layers = ["layers"] if self.weighs_layers else []
        return [*curves, *layers, "distribution", *(f"{kind}_{name}" for name in self.tables for kind in ("confusion", "reliability"))]

    @property
    def files(self) -> list[str]:
        """Files of the figures, in the order in which they are written."""
        from ser_mlops.scores.figures.style import files_of

        return [file for name in self.names for file in files_of(name, self.figures)]


def round_figures(drawing: RoundDrawing) -> "Iterator[tuple[str, Figure]]":
    """Draw one round: its epochs, the emotions of its sides, and how it did on each test set."""
    from ser_mlops.scores.figures.emotions import distribution
    from ser_mlops.scores.figures.training import layer_shares, round_curves

    if drawing.has_curves:
        yield "curves", round_curves(drawing.history, drawing.best_epoch, drawing.title, drawing.note)
    if drawing.weighs_layers:
        chosen = drawing.history.set_index("epoch").loc[drawing.best_epoch]
        yield (
            "layers",
            layer_shares(chosen[[column for column in chosen.index if column.startswith(LAYER_WEIGHT)]], drawing.title, drawing.note),
        )
    yield "distribution", distribution(drawing.counts, drawing.title, drawing.note)
    for name, table in drawing.tables.items():
        yield from _test_figures(name, table, f"{drawing.title}, tested on {name}", drawing.note)


def summary_figures(name: str, results: Sequence[Result], summary: ExperimentSummary, note: str) -> "Iterator[tuple[str, Figure]]":
    """Draw all rounds of an experiment: their curves, the table of corpora where there are several, and the tests of all together."""
    from ser_mlops.scores.figures.testing import cross_corpus
    from ser_mlops.scores.figures.training import rounds_curves

    if len(results) <= MAX_CURVES and all(TRAINING_LOSS in result.history for result in results):
        histories = {(result.training.name, result.round): result.history for result in results}
        best = {(result.training.name, result.round): result.best_epoch for result in results}
        yield "rounds_curves", rounds_curves(histories, best, name, note)
    if len(summary.pairs) > 1:
        yield "matrix", cross_corpus(summary.matrix("uar"), summary.matrix("uar_shared"), summary.matrix("chance"), name, note)
    if "" in (by_test := results_by_test(results)):
        tables = rounds_of(by_test[""])
        title = f"{name}, mean of {len(tables)} rounds" if len(tables) > 1 else f"{name}, all clips"
        yield from _test_figures("all_rounds", pd.concat(tables, ignore_index=True), title, note, len(tables))


def _test_figures(name: str, table: pd.DataFrame, title: str, note: str, rounds: int = 1) -> "Iterator[tuple[str, Figure]]":
    """Draw confusion matrix and reliability of a table that holds every clip once per round."""
    from ser_mlops.scores.figures.testing import confusion, reliability

    bins = calibration(logits_of(table), table["labels"].to_numpy())
    yield f"confusion_{name}", confusion(confusion_of(table), emotions_of(table), title, note, rounds)
    yield f"reliability_{name}", reliability(bins, expected_calibration_error(bins), title, note, rounds)
