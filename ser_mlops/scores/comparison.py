"""Experiments compared over the clips and rounds that all of them have.

- Difference of two experiments: paired over clips and rounds, intervals from the same draw for both.
- p over speakers: a permutation test. If the two experiments were equally good, swapping all predictions of one speaker between them
  would change nothing: speakers are the exchangeable units. With too few of them to reach the level, clips are, and a note says so.
- p over rounds: Student's t test on the rounds' scores. Two trainings that differ by their seed alone do differ, on any number of
  speakers; only the spread between rounds tells that from a difference between settings.
- A difference is claimed where it holds over speakers *and* over rounds: p is the larger of the two (an intersection-union test,
  which keeps the level), corrected by Holm over all pairs compared. Rounds share what their experiment's seed took for validation, so
  between experiments of different seeds nothing is claimed.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ser_mlops.errors import DataError
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.metrics import SELECTABLE, scores_of
from ser_mlops.scores.predictions import LOGITS, in_one_order
from ser_mlops.scores.resampling import (
    ALPHA,
    BATCH_CELLS,
    RESAMPLES,
    Statistic,
    Summary,
    Units,
    interval,
    interval_notes,
    mean_scores,
    minus,
    summarise_rounds,
    unit_sums,
    units_of,
)
from ser_mlops.seeds import rng

GROUPINGS = ("corpus", "gender", "language", "speaker")


DIFFERS, NOT_SHOWN = "differs", "no difference shown"


MAY_BE_SEED = "these trainings differ; one round cannot say whether by more than the seed"


MAY_BE_DIVISION = "these trainings differ; their seeds took other clips for validation, and rounds cannot say how much that did"


@dataclass(frozen=True)
class Comparison:
    """Experiments over the clips and rounds that all of them have."""

    scores: pd.DataFrame
    """One row per experiment and score: clips, rounds, mean, sd, ci_low, ci_high; ece among the scores, without an interval."""
    rounds: pd.DataFrame
    """The UAR: one row per experiment, one column per round."""
    differences: pd.DataFrame
    """One row per pair and score: difference (experiment minus baseline), ci_low, ci_high, p_units, p_rounds, p, p_holm, verdict."""
    groups: pd.DataFrame
    """One row per grouping, value and experiment: clips, speakers, uar (mean over rounds), ci_low, ci_high (not of single speakers)."""
    group_differences: pd.DataFrame
    """One row per grouping, value and pair: the UAR's difference, ci_low, ci_high; exploratory, without p."""
    notes: tuple[str, ...]

    @property
    def gaps(self) -> pd.DataFrame:
        """The fairness question in one number: how far the best and the worst served value of each grouping lie apart, in UAR."""
        served = self.groups[self.groups["value"] != "unknown"].set_index("value")["uar"]
        keys = self.groups[self.groups["value"] != "unknown"].set_index("value")[["grouping", "experiment"]]
        by = served.groupby([keys["grouping"], keys["experiment"]], sort=False)
        table = pd.DataFrame({"best": by.idxmax(), "worst": by.idxmin(), "gap": by.max() - by.min(), "sd": by.std()})
        return table[table["best"] != table["worst"]].reset_index()


def compare(
    experiments: Mapping[str, Sequence[pd.DataFrame]],
    seed: int,
    resamples: int = RESAMPLES,
    training_seeds: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare two or more experiments, each given as its rounds' prediction tables; definitions in the module's docstring.

    Pairs are formed in the order given: the earlier is the baseline of the later. `training_seeds` are the experiments' own seeds; where
    they are not given, they count as equal.
    """
    if len(experiments) < 2:
        raise DataError(f"compare takes two or more experiments, got {len(experiments)}")
    rounds, notes = _in_common(experiments)
    first = next(iter(rounds.values()))[0]
    pairs = list(combinations(rounds, 2))
    units = units_of(first)
    swapped = units_of(first, fewest=_fewest_to_swap(len(pairs)))
    summaries = {name: summarise_rounds(tables, seed, resamples=resamples) for name, tables in rounds.items()}
    differences = pd.concat([_difference(pair, rounds, units, swapped, seed, resamples) for pair in pairs], ignore_index=True)
    groups, group_differences = _by_group(rounds, pairs, seed, resamples)
    notes += (*interval_notes(units), *_swap_notes(swapped), *_round_notes(len(next(iter(rounds.values())))))
    by_round = pd.DataFrame({name: summary.rounds.loc["uar"] for name, summary in summaries.items()}).T
    judged = _judged(differences, training_seeds or dict.fromkeys(experiments, ""))
    return Comparison(_score_rows(rounds, summaries), by_round, judged, groups, group_differences, notes)


def _in_common(experiments: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[dict[str, list[pd.DataFrame]], tuple[str, ...]]:
    """Return the rounds and clips that all experiments have, in one order, and notes on what was left out."""
    ordered = {name: in_one_order(tables, name) for name, tables in experiments.items()}
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
    return kept, tuple(notes)


def _fewest_to_swap(num_pairs: int) -> int:
    """Return the smallest number of units whose most extreme two-sided permutation p, 2 / 2**U, beats the level after Holm.

    >>> _fewest_to_swap(1), _fewest_to_swap(3)
    (6, 7)
    """
    return int(np.floor(np.log2(2 * num_pairs / ALPHA))) + 1


def _difference(
    pair: tuple[str, str], rounds: Mapping[str, Sequence[pd.DataFrame]], units: Units, swapped: Units, seed: int, resamples: int
) -> pd.DataFrame:
    baseline, experiment = pair
    change = minus(
        mean_scores(unit_sums(rounds[experiment], units), SELECTABLE), mean_scores(unit_sums(rounds[baseline], units), SELECTABLE)
    )
    low, high = interval(change, units.count, seed, resamples)
    first, second = unit_sums(rounds[baseline], swapped), unit_sums(rounds[experiment], swapped)
    before, after = scores_of(first.sum(axis=0), SELECTABLE), scores_of(second.sum(axis=0), SELECTABLE)
    return pd.DataFrame(
        {
            "baseline": baseline,
            "experiment": experiment,
            "score": SELECTABLE,
            "difference": after.mean(axis=1) - before.mean(axis=1),
            "ci_low": low,
            "ci_high": high,
            "p_units": _swap_p(first, second, seed, resamples),
            "p_rounds": _rounds_p(before, after),
        }
    )


def _swap_p(first: np.ndarray, second: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Return the two-sided permutation p of every score's difference: each unit's rounds are swapped, all together, or not."""
    num_units = len(first)
    change = second - first

    def of_swapped(left: np.ndarray, right: np.ndarray, axis: int) -> np.ndarray:
        is_swapped = np.atleast_2d(left) >= num_units
        moved = np.tensordot(is_swapped.astype(np.float64), change, axes=1)
        after, before = scores_of(second.sum(axis=0) - moved, SELECTABLE), scores_of(first.sum(axis=0) + moved, SELECTABLE)
        return (after - before).mean(axis=-1).T.reshape(*left.shape[:-1], len(SELECTABLE))

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


def _judged(differences: pd.DataFrame, training_seeds: Mapping[str, str]) -> pd.DataFrame:
    """Return the differences with p, its Holm correction over the pairs (score by score) and the verdict."""
    judged = differences.assign(p=differences[["p_units", "p_rounds"]].max(axis=1))
    judged["p_holm"] = judged.groupby("score")["p"].transform(_holm)
    is_clear = (judged["p_holm"] < ALPHA) & ((judged["ci_low"] > 0) | (judged["ci_high"] < 0))
    is_redivided = judged["baseline"].map(training_seeds) != judged["experiment"].map(training_seeds)
    is_one_round = judged["p_rounds"].isna()
    judged["verdict"] = np.select(
        [is_clear & is_one_round, is_clear & is_redivided, is_clear], [MAY_BE_SEED, MAY_BE_DIVISION, DIFFERS], NOT_SHOWN
    )
    return judged


def _holm(p: pd.Series) -> np.ndarray:
    """Correct p values for their number; one alone stays as it is, without the garbage collection (0.1 to 0.4 s) of every correction."""
    return p.to_numpy() if len(p) == 1 else multipletests(p, method="holm")[1]


def _by_group(
    rounds: Mapping[str, Sequence[pd.DataFrame]], pairs: Sequence[tuple[str, str]], seed: int, resamples: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    first = next(iter(rounds.values()))[0]
    rows, differences = [], []
    for grouping in GROUPINGS:
        for value in sorted(first[grouping].unique()):
            chosen = (first[grouping] == value).to_numpy()
            units = units_of(first[chosen])
            known = {"grouping": grouping, "value": value, "clips": int(chosen.sum()), "speakers": units.num_speakers}
            uar = {name: mean_scores(unit_sums([table[chosen] for table in tables], units), ["uar"]) for name, tables in rounds.items()}
            for name in rounds:
                rows.append(known | {"experiment": name} | _estimate(uar[name], "uar", units, seed, resamples))
            for baseline, experiment in pairs:
                change = minus(uar[experiment], uar[baseline])
                differences.append(
                    known | {"baseline": baseline, "experiment": experiment} | _estimate(change, "difference", units, seed, resamples)
                )
    return pd.DataFrame(rows), pd.DataFrame(differences)


def _estimate(statistic: Statistic, name: str, units: Units, seed: int, resamples: int) -> dict[str, float]:
    """Return a group's value and its interval; the interval of a single speaker is left open."""
    value = float(statistic(np.arange(units.count)[None])[0, 0])
    low, high = interval(statistic, units.count, seed, resamples) if units.kind == "speaker" else ([np.nan], [np.nan])
    return {name: value, "ci_low": float(low[0]), "ci_high": float(high[0])}


def _score_rows(rounds: Mapping[str, Sequence[pd.DataFrame]], summaries: Mapping[str, Summary]) -> pd.DataFrame:
    tables = []
    for name, summary in summaries.items():
        eces = pd.Series(
            [expected_calibration_error(calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())) for table in rounds[name]]
        )
        scores = summary.table.loc[list(SELECTABLE)]
        scores.loc["ece", ["mean", "sd"]] = [eces.mean(), eces.std(ddof=1)]
        tables.append(scores.reset_index().assign(experiment=name, clips=len(rounds[name][0]), rounds=len(rounds[name])))
    columns = ["experiment", "score", "clips", "rounds", "mean", "sd", "ci_low", "ci_high"]
    return pd.concat(tables, ignore_index=True)[columns]


def _swap_notes(units: Units) -> tuple[str, ...]:
    if units.kind == "speaker":
        return (f"p over speakers swaps the predictions of whole speakers ({units.count})",)
    return (
        f"p over speakers swaps single clips, because {units.num_speakers} speakers are too few to swap: "
        "it takes the clips of a speaker for independent, and is too small where they are not",
    )


def _round_notes(num_rounds: int) -> tuple[str, ...]:
    if num_rounds == 1:
        return ("one round each: what settings did cannot be told from what the seed did",)
    return ()
