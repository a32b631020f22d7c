"""What the runs of an experiment hold: scores, tables, figures and the model of a training; on the parent, the summary of all rounds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_mlops.data.lock import Version
from ser_mlops.emotions import EMOTIONS
from ser_mlops.experiments.model_card import model_card
from ser_mlops.experiments.plan import Training
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.figures.emotions import distribution
from ser_mlops.scores.figures.style import save
from ser_mlops.scores.figures.testing import confusion, cross_corpus, reliability
from ser_mlops.scores.figures.training import round_curves, rounds_curves
from ser_mlops.scores.metrics import SUMMARY_SCORES, TABLE_SCORES, score
from ser_mlops.scores.predictions import LOGITS, confusion_of
from ser_mlops.scores.resampling import Summary, summarise_rounds
from ser_mlops.serving.predictor import CARD, Terms, save_model_folder
from ser_mlops.serving.pyfunc import WEIGHTS_FOLDER, save_pyfunc
from ser_mlops.settings.reading import dump_settings, flatten_settings
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.provenance import code_listing, environment_text
from ser_mlops.tracking.runlog import MAX_TAG_CHARACTERS, RunLog
from ser_mlops.tracking.store import PREDICTIONS_FOLDER, read_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from ser_mlops.training.fit import Fitted

SETTINGS_FILE = "settings.yaml"
ENVIRONMENT_FILE = "environment.txt"
CODE_FILE = "code.sha256"
HISTORY_FILE = "history.csv"
MODEL = "model"
"""Name of the logged model that every round has."""


@dataclass(frozen=True)
class Result:
    """One finished training: its epochs and its prediction table for each test set."""

    training: Training
    round: int
    best_epoch: int
    history: pd.DataFrame
    """One row per epoch, the recorder's metrics as columns."""
    tables: Mapping[str, pd.DataFrame]
    fitted: "Fitted | None" = None
    """The model; None where the result was read back from a finished run."""
    seconds: float = 0.0

    @property
    def pooled(self) -> pd.DataFrame:
        """Return the predictions of all test sets together."""
        return pd.concat(self.tables.values(), ignore_index=True)

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Scores by test set; under "" those of all test sets together."""
        return {"": self._score(self.pooled)} | {name: self._score(table) for name, table in self.tables.items()}

    def _score(self, table: pd.DataFrame) -> dict[str, float]:
        return score(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy(), self.trained_labels)

    @property
    def trained_labels(self) -> frozenset[int]:
        return frozenset(self.training.train["labels"].tolist())


class EpochLog:
    """The engine's recorder: every epoch's metrics at its step."""

    def __init__(self, run: RunLog | None) -> None:
        self._run = run

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self._run is not None:
            self._run.metrics(metrics, step=epoch)


def describe_experiment(run: RunLog, settings: Settings, versions: Mapping[str, Version]) -> None:
    """Log what an experiment is made of: settings, environment and data."""
    run.params(flatten_settings(settings))
    run.text(SETTINGS_FILE, dump_settings(settings))
    run.text(ENVIRONMENT_FILE, environment_text())
    run.text(CODE_FILE, code_listing())
    for corpus, version in versions.items():
        run.dataset(corpus, version.frame_md5, version.frame.as_posix(), "experiment", "")


def begin_training(run: RunLog, training: Training, settings: Settings, versions: Mapping[str, Version]) -> None:
    """Log what one training is made of: settings and data by side."""
    run.params(flatten_settings(settings))
    sides = {"train": training.train, "validation": training.validation, **{f"test {name}": test for name, test in training.tests.items()}}
    for side, frame in sides.items():
        for corpus, clips in frame.groupby("corpus", observed=True):
            version = versions[str(corpus)]
            profile = f'{{"clips": {len(clips)}, "speakers": {clips["speaker"].nunique()}}}'
            run.dataset(str(corpus), version.frame_md5, version.frame.as_posix(), side, profile)
    run.tags({f"validation.{corpus}": f"by {unit}" for corpus, unit in training.validation_by.items()})


def record_result(run: RunLog, result: Result, note: str) -> None:
    """Log the scores, tables and figures of a finished training."""
    assert result.fitted is not None
    run.metrics(scores_as_metrics(result.scores))
    run.metrics(
        {
            "best_epoch": result.best_epoch,
            "seconds_in_all": result.seconds,
            "parameters/trainable": result.fitted.num_trainable,
            "parameters/frozen": result.fitted.num_frozen,
            **{f"best/val_{name}": value for name, value in result.fitted.best_scores.items() if "/" not in name},
        }
    )
    told = f"UAR {result.scores['']['uar']:.3f} on {', '.join(result.tables)}, best epoch {result.best_epoch} of {len(result.history)}"
    run.describe(f"{told} ({note})" if note else told)
    run.text(HISTORY_FILE, result.history.to_csv(index=False))
    for name, table in result.tables.items():
        with run.artifact(f"test_{name}.parquet", PREDICTIONS_FOLDER) as path:
            table.to_parquet(path, index=False)
    title = f"{result.training.name}, round {result.round}"
    sides = {"train": result.training.train, "validation": result.training.validation}
    sides |= {f"test {name}": test for name, test in result.training.tests.items()}
    counts = {side: np.bincount(frame["labels"], minlength=len(EMOTIONS)) for side, frame in sides.items()}
    draw(run, "curves", round_curves(result.history, result.best_epoch, title, note))
    draw(run, "distribution", distribution(pd.DataFrame(counts, index=list(EMOTIONS)), title, note))
    for name, table in result.tables.items():
        _draw_test(run, name, table, f"{title}, tested on {name}", note)


def record_model(run: RunLog, result: Result, settings: Settings, versions: Mapping[str, Version], note: str) -> None:
    """Log the model of a finished training, ready to be served, with its card; after its scores, which become the model's too."""
    assert result.fitted is not None
    train, serving = settings.train, settings.serving
    window_seconds = train.max_seconds if train.evaluate_long == "windows" and train.max_seconds else serving.window_seconds
    with run.model(MODEL) as folder:
        save_pyfunc(folder, serving.model_dump(exclude={"window_seconds"}))
        save_model_folder(result.fitted.classifier, folder / WEIGHTS_FOLDER, Terms(window_seconds, settings.audio.min_seconds, note))
        card = model_card(result.training, result.round, result.best_epoch, result.scores, settings, versions, note)
        (folder / WEIGHTS_FOLDER / CARD).write_text(card, encoding="utf-8")


def draw(run: RunLog, name: str, figure: "Figure") -> None:
    """Log a figure."""
    with run.artifact(f"{name}.png", "figures") as path:
        save(figure, path)


def _draw_test(run: RunLog, name: str, table: pd.DataFrame, title: str, note: str) -> None:
    bins = calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())
    draw(run, f"confusion_{name}", confusion(confusion_of(table), title, note))
    draw(run, f"reliability_{name}", reliability(bins, expected_calibration_error(bins), title, note))


def scores_as_metrics(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return scores by test set under their names in MLflow: test/uar and, where there are several test sets, test/CREMA/uar."""
    metrics = {f"test/{name}": value for name, value in scores[""].items()}
    if len(scores) > 2:
        metrics |= {f"test/{test}/{name}": value for test in scores if test for name, value in scores[test].items()}
    return metrics


def read_result(client: "MlflowClient", run_id: str, training: Training, round: int) -> Result:
    """Read the result of a finished training back from its run."""
    tables = {name: pd.read_parquet(read_artifact(client, run_id, f"{PREDICTIONS_FOLDER}/test_{name}.parquet")) for name in training.tests}
    history = pd.read_csv(read_artifact(client, run_id, HISTORY_FILE))
    return Result(training, round, int(client.get_run(run_id).data.metrics["best_epoch"]), history, tables)


def record_summary(run: RunLog, name: str, results: Sequence[Result], seed: int, note: str, links: str) -> str:
    """Log means, spreads and intervals over the rounds, and their figures; return the table of rounds as text.

    The run's description tells the same, beginning with the UAR, and holds `links`.

    The parent's `test/uar_mean` is the mean over rounds of a round's UAR over all clips that were tested in it (all folds, all corpora),
    its interval the bootstrap over speakers. Where there are several test sets, each also stands alone (`test/CREMA/uar_mean`); in a
    grid, where a clip is tested by trainings on different corpora, only the cells do (`test/CREMA to TESS/uar_mean`).
    """
    rows, chances = rounds_table(results), {}
    by_test = {test: (rounds_of(some), trained_by_all(some)) for test, some in results_by_test(results).items()}
    summaries: dict[str, Summary] = {}
    for test, (rounds, trained) in by_test.items():
        summaries[test] = summarise_rounds(rounds, seed, trained)
        prefix = f"test/{test}/" if test else "test/"
        values = {f"{prefix}{score}_{column}": value for score, row in summaries[test].table.iterrows() for column, value in row.items()}
        run.metrics({key: value for key, value in values.items() if np.isfinite(value)})
        if shared := trained & {*rounds[0]["labels"]}:
            chances[test] = 1 / len(shared)
            run.metrics({f"{prefix}chance": chances[test]})
    run.text("rounds.csv", rows.to_csv(index=False))
    histories = {f"{result.training.name} round {result.round}": result.history for result in results}
    best = {f"{result.training.name} round {result.round}": result.best_epoch for result in results}
    if len(results) <= 12:
        draw(run, "rounds_curves", rounds_curves(histories, best, name, note))
    _draw_matrix(run, name, results, note)
    if "" in by_test:
        _draw_test(run, "all_rounds", pd.concat(by_test[""][0], ignore_index=True), f"{name}, all rounds", note)
    run.describe(summary_text(name, rows, summaries, chances, note, links))
    return f"{_tell_rounds(rows)}\n\n{_tell_summaries(summaries)}"


def summary_text(
    name: str, rows: pd.DataFrame, summaries: Mapping[str, Summary], chances: Mapping[str, float], note: str, links: str
) -> str:
    """Return the description of a parent: its score, `links`, a table of the test sets, and one of the UAR in every round.

    MLflow would cut a description in the middle of a row, so rows that it has no room for are left out and counted.

    Args:
        rows: as `rounds_table` returns them.
        summaries: by test set, "" for all of them.
        chances: by test set, where training and test share an emotion.
    """
    headline = f"UAR {_tell_mean(summaries[''].table.loc['uar'])}, {_tell_interval(summaries[''], 'uar')}" if "" in summaries else name
    warning = f" — **{note}, proves nothing**" if note else ""
    cautions = {f"{test or 'all'}: {caution}" for test, summary in summaries.items() for caution in summary.notes}
    head = "\n".join([f"**{headline}**{warning}  ", links, "", *(f"- {caution}" for caution in sorted(cautions)), "", ""])
    tested = [["tested on", "UAR", "95 % interval", "UAR, shared emotions", "chance", "accuracy", "F1 macro"]]
    for test, summary in summaries.items():
        means = {score: _tell_mean(row) for score, row in summary.table.iterrows()}
        chance = f"{chances[test]:.3f}" if test in chances else ""
        bounds = _tell_bounds(summary.table.loc["uar"])
        tested.append([test or "all", means["uar"], bounds, means.get("uar_shared", ""), chance, means["accuracy"], means["f1_macro"]])
    by_round = rows.pivot_table(index=["training", "test"], columns="round", values="uar", sort=False)
    rounds = [["training", "UAR on", *(f"round {round}" for round in by_round)]]
    rounds += [[*key, *(f"{value:.3f}" for value in values)] for key, values in zip(by_round.index, by_round.to_numpy(), strict=True)]
    above = _aligned(tested, (MAX_TAG_CHARACTERS - len(head)) // 2, "among the metrics")
    return head + above + "\n" + _aligned(rounds, MAX_TAG_CHARACTERS - len(head) - len(above) - 1, "in rounds.csv")


def _aligned(rows: Sequence[Sequence[str]], room: int, where: str) -> str:
    """Return a table of at most `room` characters, its columns aligned; say `where` to find the rows that are left out.

    It is a block of code, because MLflow draws the tables of Markdown without a gap between their columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows]
    text, end = "```\n", "```\n"
    for number, line in enumerate(lines):
        rest = f"… and {len(lines) - number} more rows, {where}\n{end}"
        if len(text) + len(line) + len(end if number == len(lines) - 1 else rest) > room:
            return text + rest
        text += line
    return text + end


def rounds_table(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per training, round and test set."""
    rows = []
    for result in results:
        for test, scores in result.scores.items():
            if test or len(result.tables) > 1:
                row = {"training": result.training.name, "round": result.round, "best_epoch": result.best_epoch, "test": test or "pooled"}
                rows.append(row | {name: scores.get(name, np.nan) for name in TABLE_SCORES})
    return pd.DataFrame(rows)


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


def _draw_matrix(run: RunLog, name: str, results: Sequence[Result], note: str) -> None:
    """Draw the mean UAR of every training on every test set, where there are several of either."""
    table = pd.DataFrame(
        [
            {"training": result.training.trained_on, "test": test, **{score: scores.get(score, np.nan) for score in TABLE_SCORES}}
            for result in results
            for test, scores in result.scores.items()
            if test
        ]
    )
    if table["training"].nunique() < 2 and table["test"].nunique() < 2:
        return
    uar, shared, chance = (
        table.pivot_table(index="training", columns="test", values=score, sort=False) for score in ("uar", "uar_shared", "chance")
    )
    run.text("matrix.csv", uar.to_csv())
    draw(run, "matrix", cross_corpus(uar, shared.reindex_like(uar), chance.reindex_like(uar), name, note))


def _tell_rounds(rows: pd.DataFrame) -> str:
    return rows.drop(columns="loss").to_string(index=False, float_format=lambda value: f"{value:.3f}")


def _tell_summaries(summaries: Mapping[str, Summary]) -> str:
    width = max(len(test or "all") for test in summaries)
    return "\n".join(
        f"{test or 'all':<{width}}  {score:<10}  {_tell_mean(summary.table.loc[score])}   {_tell_interval(summary, score)}"
        for test, summary in summaries.items()
        for score in SUMMARY_SCORES
        if score in summary.table.index
    )


def _tell_mean(row: pd.Series) -> str:
    return f"{row['mean']:.3f} ± {row['sd']:.3f}" if np.isfinite(row["sd"]) else f"{row['mean']:.3f}"


def _tell_interval(summary: Summary, score: str) -> str:
    return f"95 % over {summary.units.kind}s {_tell_bounds(summary.table.loc[score])}"


def _tell_bounds(row: pd.Series) -> str:
    return f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
