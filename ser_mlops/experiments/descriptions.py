"""An experiment's summary in words: the description of its parent run, and the table that is printed at its end."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ser_mlops.experiments.results import MEAN, ExperimentSummary
from ser_mlops.scores.metrics import SUMMARY_SCORES, VOTE_SCORES
from ser_mlops.scores.summary import NO_INTERVAL, Summary, format_bounds
from ser_mlops.tracking.runlog import MAX_TAG_CHARACTERS

MOST_FAILURES = 6
"""Lines of a description about rounds that learned nothing; the terminal and the table name all."""


def describe_summary(name: str, summary: ExperimentSummary, note: str, links: str, emotions: str = "") -> str:
    """Return the description of a parent: its score, `links`, a table of the test sets, and one of the UAR in every round.

    `emotions` is what is said of those that are left out or merged. MLflow would cut a description in the middle of a row, so rows that do
    not fit are left out and counted.
    """
    rows, summaries, chances = summary.rows, summary.by_test, summary.chances
    headline = name
    if summary.leading is not None:
        over = f", mean of {len(summaries) - 2} test sets" if MEAN in summaries else ""
        headline = f"UAR {format_mean(summary.leading.table.loc['uar'])}{over}, {_format_interval(summary.leading, 'uar')}"
    warning = f" — **{note}, proves nothing**" if note else ""
    head = "\n".join(
        [
            f"**{headline}**{warning}  ",
            links,
            "",
            *(f"- {caution}" for caution in [*filter(None, [emotions]), *_shortened(summary.failures), *_cautions(summaries)]),
            "",
            "",
        ]
    )
    tested = [["tested on", "UAR", "95 % interval", "UAR, shared emotions", "chance", "accuracy", "F1 macro"]]
    for test, scored in summaries.items():
        means = {score: format_mean(row) for score, row in scored.table.iterrows()}
        chance = f"{chances[test]:.3f}" if test in chances else ""
        bounds = format_bounds(*scored.table.loc["uar", ["ci_low", "ci_high"]])
        tested.append(
            [_test_name(test, summaries), means["uar"], bounds, means.get("uar_shared", ""), chance, means["accuracy"], means["f1_macro"]]
        )
    by_round = rows.pivot_table(index=["training", "test"], columns="round", values="uar", sort=False)
    rounds = [["training", "UAR on", *(f"round {round}" for round in by_round)]]
    rounds += [[*key, *(f"{value:.3f}" for value in values)] for key, values in zip(by_round.index, by_round.to_numpy(), strict=True)]
    above = aligned(tested, (MAX_TAG_CHARACTERS - len(head)) // 2, "among the metrics")
    return head + above + "\n" + aligned(rounds, MAX_TAG_CHARACTERS - len(head) - len(above) - 1, "in rounds.csv")


def _shortened(failures: Sequence[str]) -> Sequence[str]:
    """Return the first failures and the last, which counts them and says what to try."""
    return failures if len(failures) <= MOST_FAILURES else [*failures[: MOST_FAILURES - 1], failures[-1]]


def aligned(rows: Sequence[Sequence[str]], room: int, where: str) -> str:
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


def format_summary(summary: ExperimentSummary) -> str:
    """Return the table of rounds, and below it the means with their intervals."""
    cautions = "".join(f"\n- {caution}" for caution in [*summary.failures, *_cautions(summary.by_test)])
    return f"{_format_rounds(summary.rows)}\n\n{_format_means(summary.by_test)}{cautions}"


def _test_name(test: str, summaries: Mapping[str, Summary]) -> str:
    return test or ("pooled" if len(summaries) > 1 else "all")


def _cautions(summaries: Mapping[str, Summary]) -> list[str]:
    """Return what the intervals cannot say, each caution once, with the test sets that it holds for."""
    tests: dict[str, list[str]] = {}
    for test, summary in summaries.items():
        for caution in summary.notes:
            tests.setdefault(caution, []).append(_test_name(test, summaries))
    return [caution if len(named) == len(summaries) else f"{', '.join(named)}: {caution}" for caution, named in tests.items()]


def _format_rounds(rows: pd.DataFrame) -> str:
    return rows.drop(columns=["loss", *VOTE_SCORES], errors="ignore").to_string(index=False, float_format=lambda value: f"{value:.3f}")


def _format_means(summaries: Mapping[str, Summary]) -> str:
    names = {test: _test_name(test, summaries) for test in summaries}
    shown = [(test, score) for test, summary in summaries.items() for score in SUMMARY_SCORES if score in summary.table.index]
    rows = [
        (names[test], score, format_mean(summaries[test].table.loc[score]), _format_interval(summaries[test], score))
        for test, score in shown
    ]
    width, wide = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{test:<{width}}  {score:<{wide}}  {mean}   {bounds}" for test, score, mean, bounds in rows)


def format_mean(row: pd.Series) -> str:
    """Return the mean of a score with its spread over rounds, rounded."""
    return f"{row['mean']:.3f} ± {row['sd']:.3f}" if np.isfinite(row["sd"]) else f"{row['mean']:.3f}"


def _format_interval(summary: Summary, score: str) -> str:
    bounds = format_bounds(*summary.table.loc[score, ["ci_low", "ci_high"]])
    return bounds if bounds == NO_INTERVAL else f"95 % over {summary.covers} {bounds}"
