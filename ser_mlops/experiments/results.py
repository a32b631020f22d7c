"""What an experiment's predictions say: scores of a round, tables over all rounds, and the summary with its intervals. Logs nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ser_mlops.experiments.plan import Training
from ser_mlops.scores.metrics import METRICS, TABLE_SCORES, VOTE_SCORES, score
from ser_mlops.scores.predictions import emotions_of, ensemble_of, logits_of, votes_of
from ser_mlops.scores.summary import Summary, summarise_rounds, summarise_tests

if TYPE_CHECKING:
    from ser_mlops.training.round import Fitted

WHAT_TO_TRY = "try a higher lr (a head alone, freeze=encoder, needs about 1e-3), more epochs, class_weights=balanced or sample=balanced"
WHAT_TO_TRY_IN_BASELINE = "try another classifier, C, gamma or features"
MEAN = "mean"
"""Stands for the plain mean over the test sets, where they are named."""


@dataclass(frozen=True)
class Result:
    """One finished training: its epochs and its prediction table for each test set."""

    training: Training
    round: int
    best_epoch: int
    history: pd.DataFrame
    """One row per epoch, the recorder's metrics as columns."""
    tables: Mapping[str, pd.DataFrame]
    fitted: "Fitted[Any] | None" = None
    """The model; None where the result was read back from a finished run."""
    seconds: float = 0.0
    is_baseline: bool = False

    @property
    def pooled(self) -> pd.DataFrame:
        """Return the predictions of all test sets together."""
        return pd.concat(self.tables.values(), ignore_index=True)

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Scores by test set; under "" those of all test sets together."""
        return {"": self._score(self.pooled)} | {name: self._score(table) for name, table in self.tables.items()}

    def _score(self, table: pd.DataFrame) -> dict[str, float]:
        return score(logits_of(table), table["labels"].to_numpy(), self.trained_labels, emotions_of(table), votes_of(table))

    @property
    def failure(self) -> str:
        """Why the round has learned nothing: one answer for every clip, or no better than chance on validation; empty if it learned."""
        answers = self.pooled["predicted"].unique()
        if len(answers) == 1:
            return f"it answers {answers[0]} for every test clip"
        validation = self.training.validation
        num_emotions = validation.loc[validation["num_labels"] == 1, "labels"].nunique()
        (uar,) = self.history.loc[self.history["epoch"] == self.best_epoch, "val/uar"]
        if num_emotions > 1 and uar <= 1 / num_emotions + 1e-9:
            return f"its best UAR on validation, {uar:.3f}, is not above chance ({1 / num_emotions:.3f})"
        return ""

    @property
    def what_to_try(self) -> str:
        """What may help a round of this kind of model that has learned nothing."""
        return WHAT_TO_TRY_IN_BASELINE if self.is_baseline else WHAT_TO_TRY

    @property
    def trained_labels(self) -> frozenset[int]:
        return frozenset(self.training.train["labels"].tolist())


@dataclass(frozen=True)
class ExperimentSummary:
    """What all rounds of an experiment say together."""

    rows: pd.DataFrame
    """One row per training, round and test set, as `rounds_table` returns them."""
    by_test: Mapping[str, Summary]
    """Means, spreads and intervals by test set. Where there are several: under MEAN the plain mean over them, and under "" the clips of all
    of them pooled. A grid, which tests a clip several times, has neither."""
    pairs: Mapping[tuple[str, str], str]
    """For each pair of what was trained on and what was tested on: its name in `by_test`."""
    chances: Mapping[str, float]
    """Chance of `uar_shared` by test set, where training and test share an emotion."""
    ensembles: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Scores of the ensemble of all rounds by test set, named as in `by_test`; none of a single round."""
    failures: Sequence[str] = ()
    """A sentence for each kind of round that has learned nothing, and one with what to try."""

    @property
    def leading(self) -> Summary | None:
        """The summary to lead with: the mean over the test sets, or that of the only one; none in a grid."""
        return self.by_test.get(MEAN, self.by_test.get(""))

    def matrix(self, score: str) -> pd.DataFrame:
        """Return the mean over rounds of a score, or `chance`: a row for what was trained on, a column for each test set.

        A cell without a training is nan.
        """
        by_test = self.chances if score == "chance" else {test: of.table["mean"].get(score, np.nan) for test, of in self.by_test.items()}
        values = {pair: by_test.get(test, np.nan) for pair, test in self.pairs.items()}
        return pd.Series(values).rename_axis(["training", "test"]).unstack(sort=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the parent run: test/uar_mean, test/uar_ensemble, …; test/CREMA/uar_mean, … where there are several test sets."""
        values: dict[str, float] = {}
        for test, summary in self.by_test.items():
            prefix = f"test/{test}/" if test else "test/"
            named = {f"{prefix}{score}_{column}": value for score, row in summary.table.iterrows() for column, value in row.items()}
            values |= {key: value for key, value in named.items() if np.isfinite(value)}
            if test in self.chances:
                values[f"{prefix}chance"] = self.chances[test]
            values |= {f"{prefix}{score}_ensemble": value for score, value in self.ensembles.get(test, {}).items()}
        return values


def summarise(results: Sequence[Result]) -> ExperimentSummary:
    """Sum up all rounds of an experiment.

    `test/uar_mean` is the mean over rounds of a round's UAR over all clips that were tested in it (all folds, all corpora). Where there are
    several test sets, each also stands alone (`test/CREMA/uar_mean`), and `test/mean/uar_mean` is their plain mean, in which a large
    corpus weighs no more than a small one; in a grid, where a clip is tested by trainings on different corpora, only the cells stand
    (`test/CREMA to TESS/uar_mean`). Beside each mean over rounds stands the score of their ensemble (`test/uar_ensemble`).
    """
    by_test, pairs, chances, ensembles = {}, {}, {}, {}
    for test, some in results_by_test(results).items():
        rounds, trained = rounds_of(some), trained_by_all(some)
        by_test[test] = summarise_rounds(rounds, trained)
        tested = sorted({name for result in some for name in result.tables})
        if len(tested) == 1:
            pairs[some[0].training.trained_on, tested[0]] = test
        if len(rounds) > 1:
            ensembles[test] = _ensemble_scores(rounds, trained)
        if shared := trained & {*rounds[0]["labels"]}:
            chances[test] = 1 / len(shared)
    alone = [summary for test, summary in by_test.items() if test]
    if "" in by_test and alone and len({summary.rounds.shape[1] for summary in alone}) == 1:
        by_test = {MEAN: summarise_tests(alone), **by_test}
        if ensembles:
            own = [scores for test, scores in ensembles.items() if test]
            ensembles[MEAN] = {name: float(np.mean([some[name] for some in own])) for name in own[0] if all(name in some for some in own)}
    return ExperimentSummary(rounds_table(results), by_test, pairs, chances, ensembles, describe_failures(results))


def _ensemble_scores(rounds: Sequence[pd.DataFrame], trained: frozenset[int]) -> dict[str, float]:
    """Return the scores of the ensemble of some rounds, without recalls and chance."""
    table = ensemble_of(rounds)
    scores = score(logits_of(table), table["labels"].to_numpy(), trained, emotions_of(table), votes_of(table))
    return {name: value for name, value in scores.items() if name in METRICS and name != "chance"}


def describe_failures(results: Sequence[Result]) -> list[str]:
    """Say which rounds have learned nothing and why, and what to try; nothing where all have learned."""
    failed = [result for result in results if result.failure]
    reasons = [f"{result.training.name} round {result.round} learned nothing: {result.failure}" for result in failed]
    return [*reasons, f"{len(failed)} of {len(results)} rounds learned nothing: {failed[0].what_to_try}"] if failed else []


def scores_as_metrics(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return scores by test set under their names in MLflow: test/uar and, where there are several test sets, test/CREMA/uar."""
    metrics = {f"test/{name}": value for name, value in scores[""].items()}
    if len(scores) > 2:
        metrics |= {f"test/{test}/{name}": value for test in scores if test for name, value in scores[test].items()}
    return metrics


def rounds_table(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per training, round and test set.

    A column `learned` marks rounds that learned nothing, if there are any; the scores of distributions are there if listeners voted.
    """
    rows = []
    for result in results:
        for test, scores in result.scores.items():
            if test or len(result.tables) > 1:
                row = {"training": result.training.name, "round": result.round, "best_epoch": result.best_epoch, "test": test or "pooled"}
                rows.append(row | {name: scores.get(name, np.nan) for name in TABLE_SCORES} | {"learned": "nothing" * bool(result.failure)})
    table = pd.DataFrame(rows)
    empty = [name for name in VOTE_SCORES if table[name].isna().all()]
    return table.drop(columns=empty if table["learned"].any() else [*empty, "learned"])


def results_by_test(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results by test set, each with the tables of that set alone; under "" all together, or in a grid no such entry."""
    cells = {(result.training.trained_on, test) for result in results for test in result.tables}
    tests = {test for _, test in cells}
    is_grid = len(cells) > len(tests)
    by_test = {} if is_grid else {"": list(results)}
    for result in results if len(tests) > 1 else ():
        for test, table in result.tables.items():
            name = f"{result.training.trained_on} to {test}" if is_grid else test
            by_test.setdefault(name, []).append(replace(result, tables={test: table}))
    return by_test


def rounds_of(results: Sequence[Result]) -> list[pd.DataFrame]:
    """Return one prediction table per round, in which every clip counts once: as the first training of the round tested it.

    With `fold=all`, a corpus with fewer folds than another is tested in several of them (cross), and so is one that is never trained
    on (grid).
    """
    by_round: dict[int, list[pd.DataFrame]] = defaultdict(list)
    for result in results:
        by_round[result.round].append(result.pooled)
    return [pd.concat(by_round[round]).drop_duplicates("path", ignore_index=True) for round in sorted(by_round)]


def trained_by_all(results: Sequence[Result]) -> frozenset[int]:
    """Return the labels that every one of these trainings had clips of."""
    return frozenset.intersection(*(result.trained_labels for result in results))
