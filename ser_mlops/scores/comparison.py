"""Experiments compared over the clips and rounds that all of them have; docs/statistics.md shows how often a comparison claims too much.

- Difference of two experiments: paired over clips and rounds; its interval is that of `intervals`, over speakers and, with several rounds,
  over seeds.
- p over speakers: a permutation test. If the two experiments were equally good, swapping all predictions of one speaker between them
  would change nothing: speakers are the exchangeable units. With U of them the smallest p is 2 / 2**U, so that 6 are needed for one
  pair; with fewer nothing is claimed, and the verdict says what would be needed.
- p over rounds: Student's t test on the rounds' scores. Two trainings that differ by their seed alone do differ, on any number of
  speakers; only the spread between rounds tells that from a difference between settings.
- A difference is claimed where it holds over speakers *and* over rounds: p is the larger of the two (an intersection-union test,
  which keeps the level), corrected by Holm over all pairs compared. Rounds share what their experiment's seed took for validation and how
  their frames were cut, so between experiments that were divided by other seeds or rules nothing is claimed.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ser_mlops.errors import DataError, counted
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.intervals import ALPHA, Estimate, estimate, interval
from ser_mlops.scores.metrics import METRICS, comparable_scores, scores_of
from ser_mlops.scores.predictions import emotions_of, in_one_order, logits_of, vote_columns_of, votes_of
from ser_mlops.scores.summary import MORE_SPEAKERS, Summary, summarise_rounds
from ser_mlops.scores.units import Units, unit_sums, units_of
from ser_mlops.seeds import rng

GROUPINGS = ("corpus", "gender", "language", "speaker")


DIFFERS, NOT_SHOWN = "differs", "no difference shown"
MAY_BE_SEED = "these trainings differ; one round cannot say whether by more than the seed"
MAY_BE_DIVISION = "these trainings differ; their clips were divided by other seeds or rules, and rounds cannot say how much that did"
HOLDS_OVER_SPEAKERS = (DIFFERS, MAY_BE_SEED, MAY_BE_DIVISION)
"""Verdicts on trainings that differ on other speakers, too, whatever made them differ."""
RESAMPLES = 9999
"""Draws of a permutation test that has more ways to swap."""
BATCH_CELLS = 4_000_000
"""Swapped units held at once: 32 MB."""


@dataclass(frozen=True)
class Comparison:
    """Experiments over the clips and rounds that all of them have."""

    scores: pd.DataFrame
    """One row per experiment and score: clips, rounds, mean, sd, ci_low, ci_high; ece among the scores, without an interval."""
    rounds: pd.DataFrame
    """The UAR: one row per experiment, one column per round."""
    differences: pd.DataFrame
    """One row per pair and score: difference (experiment minus baseline), ci_low, ci_high, p_units, p_rounds, p, p_holm, verdict; p and
    p_units are nan where there are too few speakers to swap."""
    groups: pd.DataFrame
    """One row per grouping, value and experiment: clips, speakers, uar (mean over rounds), ci_low, ci_high (not of single speakers)."""
    group_differences: pd.DataFrame
    """One row per grouping, value and pair: the UAR's difference, ci_low, ci_high; exploratory, without p."""
    notes: tuple[str, ...]

    @property
    def gaps(self) -> pd.DataFrame:
        """The fairness question in one number: how far the best and the worst served value of each grouping lie apart, in UAR."""
        known = self.groups[~self.groups["value"].str.endswith("unknown")].set_index("value")
        served, keys = known["uar"], known[["grouping", "experiment"]]
        by = served.groupby([keys["grouping"], keys["experiment"]], sort=False)
        table = pd.DataFrame({"best": by.idxmax(), "worst": by.idxmin(), "gap": by.max() - by.min(), "sd": by.std()})
        return table[table["best"] != table["worst"]].reset_index()


def compare(
    experiments: Mapping[str, Sequence[pd.DataFrame]],
    seed: int,
    resamples: int = RESAMPLES,
    divided_by: Mapping[str, Mapping[str, str]] | None = None,
    each_swap: Callable[[int], object] = lambda number: None,
) -> Comparison:
    """Compare two or more experiments, each given as its rounds' prediction tables; definitions in the module's docstring.

    Args:
        experiments: by name; the earlier of a pair is the baseline of the later.
        seed: of the permutations.
        resamples: permutations, where there are more ways to swap.
        divided_by: by experiment, the seeds and rules that divided its clips into training, validation and test; where they are not given,
            they count as equal.
        each_swap: called as the permutations go on, with the number of those that were just done.
    """
    if len(experiments) < 2:
        raise DataError(f"compare takes two or more experiments, got {len(experiments)}")
    rounds, notes = _in_common(experiments)
    units = units_of(next(iter(rounds.values()))[0])
    divided_by = divided_by or {name: {} for name in experiments}
    differences = judge_pairs(
        {name: unit_sums(tables, units) for name, tables in rounds.items()}, units, seed, resamples, divided_by, each_swap
    )
    summaries = {name: summarise_rounds(tables) for name, tables in rounds.items()}
    by_round = pd.DataFrame({name: summary.rounds.loc["uar"] for name, summary in summaries.items()}).T
    groups, group_differences = _by_group(rounds)
    notes += tuple(dict.fromkeys(note for summary in summaries.values() for note in summary.notes))
    notes += (*_swap_notes(units, len(rounds)), *_round_notes(by_round.shape[1]), *_division_notes(divided_by))
    return Comparison(_score_rows(rounds, summaries), by_round, differences, groups, group_differences, notes)


def judge_pairs(
    sums: Mapping[str, np.ndarray],
    units: Units,
    seed: int,
    resamples: int,
    divided_by: Mapping[str, Mapping[str, str]],
    each_swap: Callable[[int], object] = lambda number: None,
) -> pd.DataFrame:
    """Return `Comparison.differences` of experiments given as their sums [U, R, F] over the same clips; other arguments as in `compare`."""
    pairs = list(combinations(sums, 2))
    fewest = _fewest_to_swap(len(pairs))
    estimates = {name: estimate(of, units.corpora_U, comparable_scores(of)) for name, of in sums.items()}
    draws = resamples if units.count >= fewest else 0
    differences = pd.concat([_difference(pair, sums, estimates, seed, draws, each_swap) for pair in pairs], ignore_index=True)
    return _judged(differences, divided_by, too_few=_too_few(units, fewest))


def _in_common(experiments: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[dict[str, list[pd.DataFrame]], tuple[str, ...]]:
    """Return the rounds and clips that all experiments have, in one order, and notes on what was left out."""
    ordered = {name: in_one_order(tables, name) for name, tables in experiments.items()}
    _refuse_other_emotions(ordered)
    paths = set.intersection(*({*tables[0]["path"]} for tables in ordered.values()))
    num_rounds = min(len(tables) for tables in ordered.values())
    if len(paths) < 2:
        raise DataError(f"fewer than two clips were tested by all of: {', '.join(ordered)}")
    notes = [
        f"{name}: {len(tables[0]) - len(paths)} clips that not all tested are left out"
        for name, tables in ordered.items()
        if len(tables[0]) > len(paths)
    ]
    notes += [f"{name}: rounds after the first {num_rounds} are left out" for name, tables in ordered.items() if len(tables) > num_rounds]
    kept = {
        name: [table[table["path"].isin(paths)].reset_index(drop=True) for table in tables[:num_rounds]] for name, tables in ordered.items()
    }
    baseline = next(iter(kept.values()))[0]
    for name, tables in kept.items():
        disagrees = tables[0]["labels"] != baseline["labels"]
        if disagrees.any():
            raise DataError(
                f"{name}: clip {baseline['path'][disagrees].iloc[0]!r} has another label there ({disagrees.sum()} such); "
                "experiments under different label rules cannot be compared"
            )
    every = [table for tables in kept.values() for table in tables]
    votes = [votes_of(table) for table in every]
    if any(
        of is None or not np.array_equal(of, votes[0] if votes[0] is not None else ()) for of in votes
    ):  # some were made before there were votes
        kept = {name: [table.drop(columns=vote_columns_of(table)) for table in tables] for name, tables in kept.items()}
    return kept, tuple(notes)


def _refuse_other_emotions(experiments: Mapping[str, Sequence[pd.DataFrame]]) -> None:
    """Raise DataError where experiments tell different emotions apart: their scores are of different tasks."""
    baseline, *others = experiments
    emotions = {name: emotions_of(tables[0]) for name, tables in experiments.items()}
    for name in others:
        if emotions[name] != emotions[baseline]:
            raise DataError(
                f"{name} tells {', '.join(emotions[name])} apart, {baseline} {', '.join(emotions[baseline])}: experiments on different "
                "emotions cannot be compared"
            )


def _fewest_to_swap(num_pairs: int) -> int:
    """Return the smallest number of units whose most extreme two-sided permutation p, 2 / 2**U, beats the level after Holm.

    >>> _fewest_to_swap(1), _fewest_to_swap(3)
    (6, 7)
    """
    return int(np.floor(np.log2(2 * num_pairs / ALPHA))) + 1


def _too_few(units: Units, fewest: int) -> str:
    """Return the verdict where there are too few units to swap, else nothing."""
    if units.count >= fewest:
        return ""
    return f"nothing can be claimed with {_speakers(units)}: {fewest} are needed ({MORE_SPEAKERS})"


def _speakers(units: Units) -> str:
    return counted(units.count, "speaker")


def _difference(
    pair: tuple[str, str],
    sums: Mapping[str, np.ndarray],
    estimates: Mapping[str, Estimate],
    seed: int,
    resamples: int,
    each_swap: Callable[[int], object],
) -> pd.DataFrame:
    """Return a pair's difference in every score; without `resamples` there is no p over units."""
    baseline, experiment = pair
    change = estimates[experiment] - estimates[baseline]
    low, high = interval(change)
    p_units = np.full(len(change.names), np.nan)
    if resamples:
        p_units = _swap_p(sums[baseline], sums[experiment], change.names, seed, resamples, each_swap)
    return pd.DataFrame(
        {
            "baseline": baseline,
            "experiment": experiment,
            "score": change.names,
            "difference": change.mean_M,
            "ci_low": low,
            "ci_high": high,
            "p_units": p_units,
            "p_rounds": _rounds_p(estimates[baseline].rounds[0], estimates[experiment].rounds[0]),
        }
    )


def _swap_p(
    first: np.ndarray,
    second: np.ndarray,
    names: Sequence[str],
    seed: int,
    resamples: int,
    each_swap: Callable[[int], object] = lambda number: None,
) -> np.ndarray:
    """Return the two-sided permutation p of every named score's difference: each unit's rounds are swapped, all together, or not."""
    num_units = len(first)
    change = second - first

    def of_swapped(left: np.ndarray, right: np.ndarray, axis: int) -> np.ndarray:
        is_swapped = np.atleast_2d(left) >= num_units
        moved = np.tensordot(is_swapped.astype(np.float64), change, axes=1)
        each_swap(len(is_swapped))
        after, before = scores_of(second.sum(axis=0) - moved, names), scores_of(first.sum(axis=0) + moved, names)
        return (after - before).mean(axis=-1).T.reshape(*left.shape[:-1], len(names))

    units = np.arange(num_units)
    return stats.permutation_test(
        (units, units + num_units),
        of_swapped,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH_CELLS // num_units),
        rng=rng(seed, "permutation"),
    ).pvalue


def _rounds_p(before_MR: np.ndarray, after_MR: np.ndarray) -> np.ndarray:
    """Return the p of Student's t test on the rounds of both experiments; nan for one round, 1 where all rounds score the same."""
    if before_MR.shape[1] == 1:
        return np.full(len(before_MR), np.nan)
    is_constant = np.ptp(np.hstack([before_MR, after_MR]), axis=1) == 0
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # two models that always answer the same have no spread
        p = stats.ttest_ind(before_MR, after_MR, axis=1).pvalue
    return np.where(is_constant, 1.0, p)


def _judged(differences: pd.DataFrame, divided_by: Mapping[str, Mapping[str, str]], too_few: str) -> pd.DataFrame:
    """Return the differences with p, its Holm correction over the pairs (score by score) and the verdict.

    Args:
        differences: with p_units and p_rounds.
        divided_by: as `compare` takes it.
        too_few: the verdict on all of them where there are too few speakers, else empty.
    """
    judged = differences.assign(p=differences[["p_units", "p_rounds"]].max(axis=1).where(differences["p_units"].notna()))
    judged["p_holm"] = judged.groupby("score")["p"].transform(_holm)
    leaves_out_zero = ~((judged["ci_low"] <= 0) & (judged["ci_high"] >= 0))
    is_clear = (judged["p_holm"] < ALPHA) & leaves_out_zero
    is_redivided = np.array([divided_by[row.baseline] != divided_by[row.experiment] for row in judged.itertuples()])
    judged["verdict"] = np.select(
        [np.full(len(judged), bool(too_few)), is_clear & judged["p_rounds"].isna(), is_clear & is_redivided, is_clear],
        [too_few, MAY_BE_SEED, MAY_BE_DIVISION, DIFFERS],
        NOT_SHOWN,
    )
    return judged


def _holm(p: pd.Series) -> np.ndarray:
    """Correct p values for their number; one alone stays as it is, without the garbage collection (0.1 to 0.4 s) of every correction."""
    return p.to_numpy() if len(p) == 1 else multipletests(p, method="holm")[1]


def _by_group(rounds: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    first = next(iter(rounds.values()))[0]
    rows, differences = [], []
    for grouping in GROUPINGS:
        for value in sorted(first[grouping].unique()):
            chosen = (first[grouping] == value).to_numpy()
            units = units_of(first[chosen])
            known = {"grouping": grouping, "value": value, "clips": int(chosen.sum()), "speakers": units.num_speakers}
            uar = {
                name: estimate(unit_sums([table[chosen] for table in tables], units), units.corpora_U, ["uar"])
                for name, tables in rounds.items()
            }
            for name in rounds:
                rows.append(known | {"experiment": name} | _with_interval(uar[name], "uar"))
            for baseline, experiment in combinations(rounds, 2):
                change = _with_interval(uar[experiment] - uar[baseline], "difference")
                differences.append(known | {"baseline": baseline, "experiment": experiment} | change)
    return pd.DataFrame(rows), pd.DataFrame(differences)


def _with_interval(of: Estimate, name: str) -> dict[str, float]:
    low, high = interval(of)
    return {name: float(of.mean_M[0]), "ci_low": float(low[0]), "ci_high": float(high[0])}


def _score_rows(rounds: Mapping[str, Sequence[pd.DataFrame]], summaries: Mapping[str, Summary]) -> pd.DataFrame:
    tables = []
    for name, summary in summaries.items():
        eces = pd.Series([expected_calibration_error(calibration(logits_of(table), table["labels"].to_numpy())) for table in rounds[name]])
        scores = summary.table[summary.table.index.isin(METRICS)].copy()
        scores.loc["ece", ["mean", "sd"]] = [eces.mean(), eces.std(ddof=1)]
        tables.append(scores.reset_index().assign(experiment=name, clips=len(rounds[name][0]), rounds=len(rounds[name])))
    columns = ["experiment", "score", "clips", "rounds", "mean", "sd", "ci_low", "ci_high"]
    return pd.concat(tables, ignore_index=True)[columns]


def _swap_notes(units: Units, num_experiments: int) -> tuple[str, ...]:
    fewest = _fewest_to_swap(num_experiments * (num_experiments - 1) // 2)
    if units.count >= fewest:
        return (f"p over speakers swaps the predictions of whole speakers ({units.count})",)
    return (f"no p: {_speakers(units)} can be swapped, {fewest} are needed before any difference could be claimed ({MORE_SPEAKERS})",)


def _round_notes(num_rounds: int) -> tuple[str, ...]:
    if num_rounds == 1:
        return ("one round each: an effect of the settings cannot be told from an effect of the seed",)
    return ()


def _division_notes(divided_by: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """Name the seeds and rules of division in which experiments differ."""
    keys = {key for keys in divided_by.values() for key in keys}
    differing = [key for key in sorted(keys) if len({keys.get(key) for keys in divided_by.values()}) > 1]
    return tuple(
        f"{key} differs ({', '.join(f'{name}: {own.get(key)}' for name, own in divided_by.items())}): the clips were divided otherwise"
        for key in differing
    )
