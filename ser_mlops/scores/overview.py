"""The table of a paper: a row per experiment, a column per test set, and which rows differ from the baseline's.

- A cell is the mean over rounds of one score on one test set, with its spread over rounds and its 95 % interval (`intervals`).
- The column `mean` is the mean over test sets, round by round; it stands where a row has them all, over equally many rounds.
- A mark says that the difference from the baseline's row is claimed: by the test of `comparison`, its p corrected by Holm over all cells
  of the table that are tested.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from ser_mlops.errors import DataError
from ser_mlops.scores.comparison import DIFFERS, RESAMPLES, compare
from ser_mlops.scores.intervals import ALPHA
from ser_mlops.scores.metrics import LOWER_IS_BETTER
from ser_mlops.scores.summary import summarise_rounds, summarise_tests
from ser_mlops.scores.units import units_of

MEAN = "mean"
"""Column of the mean over test sets."""
CELLS = ("sd", "interval")
MARK = "†"
Rounds = Sequence[pd.DataFrame]
"""One prediction table per round."""


@dataclass(frozen=True)
class Overview:
    """Experiments by test sets, in one score."""

    score: str
    baseline: str
    cells: pd.DataFrame
    """One row per experiment and test set: rounds, clips, mean, sd, ci_low, ci_high, is_best; difference, p, p_holm and is_claimed against
    the baseline, which has none of its own."""
    tests: pd.DataFrame
    """One row per test set: clips, speakers, and chance (1 / the number of its emotions)."""
    notes: tuple[str, ...]

    @property
    def score_name(self) -> str:
        """The score in words."""
        return "UAR" if self.score == "uar" else self.score.replace("_", " ")

    @property
    def num_tested(self) -> int:
        """How many cells are tested against the baseline's."""
        return int(self.cells["p"].notna().sum())

    def text(self, cell: str, bold: str = "{}") -> pd.DataFrame:
        """Return the table as text, experiments by test sets; `bold` wraps the best of a column, † follows what is claimed.

        `cell`: sd (mean ± sd over rounds) or interval (mean and 95 % interval).
        """
        rows = self.cells.assign(text=[self._cell(row, cell, bold) for row in self.cells.itertuples()])
        table = rows.pivot_table(index="experiment", columns="test", values="text", aggfunc="first", sort=False).fillna("")
        below = pd.DataFrame(
            {"chance": self.tests["chance"].map("{:.3f}".format), "speakers": self.tests["speakers"].astype(str)}, index=self.tests.index
        ).T
        below = below.drop(index=[] if self.score == "uar" else ["chance"])
        return pd.concat([table, below.reindex(columns=table.columns).fillna("")]).rename_axis(index="experiment", columns=None)

    @staticmethod
    def _cell(row: Any, cell: str, bold: str) -> str:
        number = f"{row.mean:.3f}"
        text = bold.format(number) if row.is_best else number
        if cell == "sd" and np.isfinite(row.sd):
            text += f" ± {row.sd:.3f}"
        if cell == "interval" and np.isfinite(row.ci_low):
            text += f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
        return text + MARK * bool(row.is_claimed)


def lay_out(
    experiments: Mapping[str, Mapping[str, Rounds]],
    baseline: str,
    score: str,
    seed: int,
    resamples: int = RESAMPLES,
    divided_by: Mapping[str, Mapping[str, str]] | None = None,
    untested: Collection[str] = (),
) -> Overview:
    """Lay experiments out by their test sets; definitions in the module's docstring.

    Args:
        experiments: by name, in the order of the rows, the prediction tables of every round by test set.
        baseline: the row that the others are tested against.
        score: one of `metrics.SELECTABLE`.
        seed: of the permutations.
        divided_by: see `compare`.
        untested: rows that are shown and not tested, and do not count in Holm's correction.
    """
    if baseline not in experiments:
        raise DataError(f"no experiment {baseline!r}, expected one of: {', '.join(experiments)}")
    tests = list(dict.fromkeys(test for by_test in experiments.values() for test in by_test))
    rows, notes = [], []
    for name, by_test in experiments.items():
        summaries = []
        for test in tests:
            if test not in by_test:
                continue
            rounds = by_test[test]
            summary = summarise_rounds(rounds)
            row = {"experiment": name, "test": test, "rounds": len(rounds), "clips": len(rounds[0]), **summary.table.loc[score].to_dict()}
            if name not in (baseline, *untested) and test in experiments[baseline]:
                against, said = _against(experiments[baseline][test], rounds, (baseline, name), score, seed, resamples, divided_by)
                row |= against
                notes += [f"{test}: {note}" for note in said]
            rows.append(row)
            summaries.append(summary)
        if len(tests) > 1 and len(summaries) == len(tests) and len({summary.rounds.shape[1] for summary in summaries}) == 1:
            mean = summarise_tests(summaries)
            rows.append({"experiment": name, "test": MEAN, "rounds": mean.rounds.shape[1], **mean.table.loc[score].to_dict()})
    columns = [
        "experiment",
        "test",
        "rounds",
        "clips",
        "mean",
        "sd",
        "ci_low",
        "ci_high",
        "difference",
        "p",
        "p_holm",
        "is_claimed",
        "is_best",
    ]
    cells = pd.DataFrame(rows).reindex(columns=columns)
    cells["p_holm"], cells["is_claimed"] = _claims(cells)
    best = cells.groupby("test")["mean"].transform("min" if score in LOWER_IS_BETTER else "max")
    cells["is_best"] = cells["mean"] == best
    notes = [*_gaps(experiments, tests, baseline), *dict.fromkeys(notes)]
    return Overview(score, baseline, cells, _describe_tests(experiments, tests), tuple(notes))


def _gaps(experiments: Mapping[str, Mapping[str, Rounds]], tests: Sequence[str], baseline: str) -> list[str]:
    """Say which cells are empty, which have no difference, and where the cells of a column are not over the same clips."""
    notes = []
    for name, by_test in experiments.items():
        if missing := [test for test in tests if test not in by_test]:
            notes.append(f"{name} was not tested on {', '.join(missing)}, so it has no mean over test sets")
        elif len({len(rounds) for rounds in by_test.values()}) > 1:
            counts = ", ".join(f"{test} {len(rounds)}" for test, rounds in by_test.items())
            notes.append(f"{name} has no mean over test sets, as their rounds differ in number ({counts})")
    if untested := [test for test in tests if test not in experiments[baseline]]:
        notes.append(f"{baseline} was not tested on {', '.join(untested)}: no difference from it is tested there")
    for test in tests:
        clips = {name: frozenset(by_test[test][0]["path"]) for name, by_test in experiments.items() if test in by_test}
        if len({*clips.values()}) > 1:
            counts = ", ".join(f"{name} {len(paths)}" for name, paths in clips.items())
            notes.append(f"{test}: not all were tested on the same clips ({counts}); a cell is over its own, a difference over common ones")
    return notes


def _against(
    first: Rounds,
    second: Rounds,
    names: tuple[str, str],
    score: str,
    seed: int,
    resamples: int,
    divided_by: Mapping[str, Mapping[str, str]] | None,
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return difference, p and whether it would be claimed alone, with the notes of the comparison; nothing without common clips."""
    if not {*first[0]["path"]} & {*second[0]["path"]}:
        return {}, (f"{names[1]} and {names[0]} were tested on no clip in common: no difference is tested",)
    chosen = None if divided_by is None else {name: divided_by[name] for name in names}
    comparison = compare(dict(zip(names, (first, second), strict=True)), seed, resamples, chosen)
    row = comparison.differences.set_index("score").loc[score]
    return {"difference": row["difference"], "p": row["p"], "is_claimed": row["verdict"] == DIFFERS}, comparison.notes


def _claims(cells: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return p corrected by Holm over all tested cells, and which differences are claimed with it."""
    tested = cells["p"].notna()
    corrected = cells["p"].astype(float).copy()
    if tested.any():
        corrected[tested] = multipletests(corrected[tested], method="holm")[1]
    return corrected, cells["is_claimed"].eq(True) & (corrected < ALPHA)


def _describe_tests(experiments: Mapping[str, Mapping[str, Rounds]], tests: Sequence[str]) -> pd.DataFrame:
    rows = []
    for test in tests:
        table = next(by_test[test][0] for by_test in experiments.values() if test in by_test)
        rows.append({"test": test, "clips": len(table), "speakers": units_of(table).num_speakers, "chance": 1 / table["labels"].nunique()})
    return pd.DataFrame(rows).set_index("test")
