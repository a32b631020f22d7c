"""What can be said of scores: over rounds, over speakers, and between experiments.

A *prediction table* has one row per tested clip: path, corpus, speaker, gender, language, labels and one logit per emotion
(`prediction_table`). An experiment is one such table per round over the same clips. All scores are those of `metrics`, here as
functions of sums over *units* (a unit is a speaker; a clip whose speaker nobody knows is its own unit), so that resampling units
costs one matrix product: U units, R rounds, F sums, E emotions, B resamples, N clips.

- Interval: the percentile bootstrap of the mean over rounds, units drawn with replacement, the same draw for all rounds. UAR and F1 of
  a resample are over the emotions present in it. One speaker alone cannot be resampled: then clips are, and a note says so.
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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import log_softmax, softmax
from statsmodels.stats.multitest import multipletests

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.seeds import rng

NUM_EMOTIONS = len(EMOTIONS)
LOGITS = tuple(f"logit_{emotion}" for emotion in EMOTIONS)
CLIP_COLUMNS = ("path", "corpus", "speaker", "gender", "language", "labels")
METRICS = ("uar", "accuracy", "f1_macro", "f1_weighted", "loss")
GROUPINGS = ("corpus", "gender", "language", "speaker")
DIFFERS, NOT_SHOWN = "differs", "no difference shown"
MAY_BE_SEED = "these trainings differ; one round cannot say whether by more than the seed"
MAY_BE_DIVISION = "these trainings differ; their seeds took other clips for validation, and rounds cannot say how much that did"
LEVEL = 0.05
RESAMPLES = 9999
"""Draws of a bootstrap, and of a permutation test that has more ways to swap."""
NONE_SHARED = np.array([], dtype=np.int64)
Statistic = Callable[[np.ndarray], np.ndarray]
"""From drawn units [B, U] to values [M, B]."""
FEW_SPEAKERS = 10
BATCH_CELLS = 4_000_000
"""Drawn units held at once: 32 MB of indices."""


def prediction_table(clips: pd.DataFrame, logits_NE: np.ndarray) -> pd.DataFrame:
    """Return the prediction table of tested clips (rows of a frame) and their logits, in their order."""
    table = clips[list(CLIP_COLUMNS)].reset_index(drop=True)
    predicted = np.asarray(EMOTIONS, dtype=object)[np.asarray(logits_NE).argmax(axis=1)]
    return table.assign(predicted=pd.Categorical(predicted, categories=list(EMOTIONS))).join(pd.DataFrame(logits_NE, columns=list(LOGITS)))


def confusion_of(table: pd.DataFrame) -> np.ndarray:
    """Count the clips of a prediction table by true label (rows) and predicted label (columns)."""
    predicted_N = table[list(LOGITS)].to_numpy().argmax(axis=1)
    cells = np.bincount(table["labels"] * NUM_EMOTIONS + predicted_N, minlength=NUM_EMOTIONS**2)
    return cells.reshape(NUM_EMOTIONS, NUM_EMOTIONS)


# Calibration


def calibration(logits_NE: np.ndarray, labels_N: np.ndarray, num_bins: int = 10) -> pd.DataFrame:
    """Return clips, mean confidence and accuracy of equally wide bins (low, high] of the largest probability."""
    probabilities_NE = softmax(np.asarray(logits_NE, dtype=np.float64), axis=1)
    confidence_N = probabilities_NE.max(axis=1)
    is_right_N = probabilities_NE.argmax(axis=1) == labels_N
    edges = np.linspace(0, 1, num_bins + 1)
    bins_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, num_bins - 1)
    clips = np.bincount(bins_N, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins_N, weights=confidence_N, minlength=num_bins) / clips
        accuracy = np.bincount(bins_N, weights=is_right_N, minlength=num_bins) / clips
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "clips": clips, "confidence": confidence, "accuracy": accuracy})


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Return the mean distance of confidence and accuracy over the bins of `calibration`, weighted by clips (Naeini et al., 2015)."""
    return float(((bins["confidence"] - bins["accuracy"]).abs() * bins["clips"]).sum() / bins["clips"].sum())


# Sums over units, and scores as functions of them


@dataclass(frozen=True)
class Units:
    """What is resampled: the unit of each clip, as an index, and what a unit is."""

    codes_N: np.ndarray
    kind: str
    num_speakers: int

    @property
    def count(self) -> int:
        return int(self.codes_N.max()) + 1


def units_of(table: pd.DataFrame, *, fewest: int = 2) -> Units:
    """Return the speakers of a table as its units, or its clips where there are fewer than `fewest` speakers."""
    is_unknown = table["speaker"].str.endswith("/unknown")
    speakers, names = pd.factorize(table["speaker"].where(~is_unknown, table["path"]))
    if len(names) >= fewest:
        return Units(speakers, "speaker", len(names))
    return Units(np.arange(len(table)), "clip", len(names))


def _sums(rounds: Sequence[pd.DataFrame], units: Units, shared: np.ndarray = NONE_SHARED) -> np.ndarray:
    """Return [U, R, F] of every unit and round: the confusion counts over all emotions, those over the shared ones, and, last, the loss."""
    blocks = []
    for table in rounds:
        logits_NE = table[list(LOGITS)].to_numpy(dtype=np.float64)
        labels_N = table["labels"].to_numpy()
        losses_N = -log_softmax(logits_NE, axis=1)[np.arange(len(labels_N)), labels_N]
        counts = _confusions(units, labels_N, logits_NE, np.arange(NUM_EMOTIONS))
        shared_counts = _confusions(units, labels_N, logits_NE, shared)
        blocks.append(np.column_stack([counts, shared_counts, np.bincount(units.codes_N, weights=losses_N, minlength=units.count)]))
    return np.stack(blocks, axis=1)


def _confusions(units: Units, labels_N: np.ndarray, logits_NE: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return [U, E * E]: the confusion counts of each unit's clips that have one of the labels, argmax restricted to these."""
    kept = np.isin(labels_N, among)
    if not kept.any():
        return np.zeros((units.count, NUM_EMOTIONS**2))
    predicted = among[logits_NE[kept][:, among].argmax(axis=1)]
    cells = (units.codes_N[kept] * NUM_EMOTIONS + labels_N[kept]) * NUM_EMOTIONS + predicted
    return np.bincount(cells, minlength=units.count * NUM_EMOTIONS**2).reshape(units.count, -1)


def _scores(sums: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return [M, ...]: the named scores of sums [..., F]; an emotion without clips has no recall (nan)."""
    square = NUM_EMOTIONS**2
    confusion = sums[..., :square].reshape(*sums.shape[:-1], NUM_EMOTIONS, NUM_EMOTIONS)
    support, right = confusion.sum(-1), np.diagonal(confusion, axis1=-2, axis2=-1)
    clips, present = support.sum(-1), support > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / support
        f1 = np.where(present, 2 * right / (support + confusion.sum(-2)), 0)
        values = {
            "uar": np.where(present, recall, 0).sum(-1) / present.sum(-1),
            "accuracy": right.sum(-1) / clips,
            "f1_macro": f1.sum(-1) / present.sum(-1),
            "f1_weighted": (f1 * support).sum(-1) / clips,
            "loss": sums[..., -1] / clips,
            **{f"recall/{emotion}": recall[..., label] for label, emotion in enumerate(EMOTIONS)},
        }
        if "uar_shared" in names:
            values["uar_shared"] = _scores(sums[..., square:], ["uar"])[0]
    return np.stack([values[name] for name in names])


def _draw_sums(sums: np.ndarray, drawn_BU: np.ndarray) -> np.ndarray:
    """Return [B, R, F]: the sums over drawn units, each as often as it was drawn."""
    num_units = len(sums)
    times = np.bincount((drawn_BU + num_units * np.arange(len(drawn_BU))[:, None]).ravel(), minlength=len(drawn_BU) * num_units)
    return np.tensordot(times.reshape(drawn_BU.shape).astype(np.float64), sums, axes=1)


def _mean_scores(sums: np.ndarray, names: Sequence[str]) -> Statistic:
    """Return the scores' means over the rounds as a function of drawn units."""
    return lambda drawn_BU: _scores(_draw_sums(sums, drawn_BU), names).mean(axis=-1)


def _minus(one: Statistic, other: Statistic) -> Statistic:
    return lambda drawn_BU: one(drawn_BU) - other(drawn_BU)


# One experiment


@dataclass(frozen=True)
class Summary:
    """An experiment's scores over its rounds."""

    table: pd.DataFrame
    """One row per score; mean and sd over rounds (sd: n - 1, nan for one round), ci_low and ci_high."""
    rounds: pd.DataFrame
    """One row per score, one column per round."""
    units: Units
    notes: tuple[str, ...]


def summarise_rounds(
    rounds: Sequence[pd.DataFrame], seed: int, trained_labels: Collection[int] = (), resamples: int = RESAMPLES
) -> Summary:
    """Summarise the prediction tables of an experiment's rounds: mean, sd and 95 % interval of every score.

    Args:
        rounds: one prediction table per round, over the same clips.
        seed: of the bootstrap's draws.
        trained_labels: labels that the training clips have; with none, `uar_shared` is left out.
    """
    rounds = _ordered(rounds, "rounds")
    units = units_of(rounds[0])
    present = np.unique(rounds[0]["labels"])
    shared = np.intersect1d(present, np.fromiter(trained_labels, dtype=np.int64))
    names = [*METRICS, *(["uar_shared"] if len(shared) else []), *(f"recall/{EMOTIONS[label]}" for label in present)]
    sums = _sums(rounds, units, shared)
    scores_MR = _scores(sums.sum(axis=0), names)
    low, high = _interval(_mean_scores(sums, names), units.count, seed, resamples)
    by_round = pd.DataFrame(scores_MR, index=pd.Index(names, name="score"))
    table = pd.DataFrame({"mean": by_round.mean(axis=1), "sd": by_round.std(axis=1, ddof=1), "ci_low": low, "ci_high": high})
    return Summary(table, by_round, units, _interval_notes(units))


def _ordered(rounds: Sequence[pd.DataFrame], name: str) -> list[pd.DataFrame]:
    """Return the tables with their clips in the order of the paths, checked to be the same clips in all."""
    ordered = [table.sort_values("path", ignore_index=True) for table in rounds]
    is_twice = ordered[0]["path"].duplicated()
    if is_twice.any():
        raise DataError(f"{name}: clip {ordered[0]['path'][is_twice].iloc[0]!r} was tested twice in one round")
    for position, table in enumerate(ordered):
        if not table[["path", "labels"]].equals(ordered[0][["path", "labels"]]):
            raise DataError(f"{name}: round {position} was tested on other clips or labels than round 0")
    return ordered


def _interval(statistic: Statistic, num_units: int, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % percentile interval of a statistic; nan where a single clip leaves nothing to resample."""
    if num_units == 1:
        open_bounds = np.full(len(statistic(np.zeros((1, 1), dtype=np.int64))), np.nan)
        return open_bounds, open_bounds

    def of_drawn(units: np.ndarray, axis: int) -> np.ndarray:
        return statistic(np.atleast_2d(units)).reshape(-1, *units.shape[:-1])

    with warnings.catch_warnings():
        # scipy's own bounds are nan where a resample lacks an emotion and thus its recall; ours leave such resamples out.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(num_units),),
            of_drawn,
            n_resamples=resamples,
            batch=max(1, BATCH_CELLS // num_units),
            vectorized=True,
            method="percentile",
            rng=rng(seed, "bootstrap"),
        )
    low, high = np.nanquantile(result.bootstrap_distribution, (LEVEL / 2, 1 - LEVEL / 2), axis=-1)
    return low, high


def _interval_notes(units: Units) -> tuple[str, ...]:
    if units.kind == "clip":
        return ("intervals resample clips, because there is one speaker: they say nothing of other speakers",)
    if units.count < FEW_SPEAKERS:
        return (f"intervals resample {units.count} speakers: so few give a rough interval, and too narrow a one",)
    return ()


# Several experiments


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
    notes += (*_interval_notes(units), *_swap_notes(swapped), *_round_notes(len(next(iter(rounds.values())))))
    by_round = pd.DataFrame({name: summary.rounds.loc["uar"] for name, summary in summaries.items()}).T
    judged = _judged(differences, training_seeds or dict.fromkeys(experiments, ""))
    return Comparison(_score_rows(rounds, summaries), by_round, judged, groups, group_differences, notes)


def _in_common(experiments: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[dict[str, list[pd.DataFrame]], tuple[str, ...]]:
    """Return the rounds and clips that all experiments have, in one order, and notes on what was left out."""
    ordered = {name: _ordered(tables, name) for name, tables in experiments.items()}
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
    return int(np.floor(np.log2(2 * num_pairs / LEVEL))) + 1


def _difference(
    pair: tuple[str, str], rounds: Mapping[str, Sequence[pd.DataFrame]], units: Units, swapped: Units, seed: int, resamples: int
) -> pd.DataFrame:
    baseline, experiment = pair
    change = _minus(_mean_scores(_sums(rounds[experiment], units), METRICS), _mean_scores(_sums(rounds[baseline], units), METRICS))
    low, high = _interval(change, units.count, seed, resamples)
    first, second = _sums(rounds[baseline], swapped), _sums(rounds[experiment], swapped)
    before, after = _scores(first.sum(axis=0), METRICS), _scores(second.sum(axis=0), METRICS)
    return pd.DataFrame(
        {
            "baseline": baseline,
            "experiment": experiment,
            "score": METRICS,
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
        after, before = _scores(second.sum(axis=0) - moved, METRICS), _scores(first.sum(axis=0) + moved, METRICS)
        return (after - before).mean(axis=-1).T.reshape(*left.shape[:-1], len(METRICS))

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
    is_clear = (judged["p_holm"] < LEVEL) & ((judged["ci_low"] > 0) | (judged["ci_high"] < 0))
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
            uar = {name: _mean_scores(_sums([table[chosen] for table in tables], units), ["uar"]) for name, tables in rounds.items()}
            for name in rounds:
                rows.append(known | {"experiment": name} | _estimate(uar[name], "uar", units, seed, resamples))
            for baseline, experiment in pairs:
                change = _minus(uar[experiment], uar[baseline])
                differences.append(
                    known | {"baseline": baseline, "experiment": experiment} | _estimate(change, "difference", units, seed, resamples)
                )
    return pd.DataFrame(rows), pd.DataFrame(differences)


def _estimate(statistic: Statistic, name: str, units: Units, seed: int, resamples: int) -> dict[str, float]:
    """Return a group's value and its interval; the interval of a single speaker is left open."""
    value = float(statistic(np.arange(units.count)[None])[0, 0])
    low, high = _interval(statistic, units.count, seed, resamples) if units.kind == "speaker" else ([np.nan], [np.nan])
    return {name: value, "ci_low": float(low[0]), "ci_high": float(high[0])}


def _score_rows(rounds: Mapping[str, Sequence[pd.DataFrame]], summaries: Mapping[str, Summary]) -> pd.DataFrame:
    tables = []
    for name, summary in summaries.items():
        eces = pd.Series(
            [expected_calibration_error(calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())) for table in rounds[name]]
        )
        scores = summary.table.loc[list(METRICS)]
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


def comparison_page(comparison: Comparison, title: str, note: str = "") -> str:
    """Return the comparison as a Markdown page, the claims first."""
    uar = comparison.differences[comparison.differences["score"] == "uar"]
    claims = [
        f"- **{row.experiment}** against **{row.baseline}**: {row.difference:+.1%} UAR (95 % interval {row.ci_low:+.1%} to "
        f"{row.ci_high:+.1%}, p {row.p_holm:.4f}): {row.verdict}."
        for row in uar.itertuples()
    ]
    sections = [
        f"# {title}",
        *([f"**{note}**"] if note else []),
        "\n".join(claims),
        "## Scores",
        _markdown(comparison.scores),
        "## Differences (experiment minus baseline)",
        _markdown(comparison.differences),
        "p_units: permutation over speakers (or clips, see the notes); p_rounds: t test over rounds; p: the larger of the two; "
        "p_holm: corrected over the pairs. A difference is claimed where p_holm is below 0.05, the interval leaves 0 out, and both "
        "experiments were made with one seed.",
        "## Who is served how well (UAR)",
        *(part for grouping in GROUPINGS for part in _group_section(comparison, grouping)),
        "### Largest gaps",
        _markdown(comparison.gaps),
        "## Notes",
        "\n".join(f"- {text}" for text in comparison.notes),
    ]
    return "\n\n".join(sections) + "\n"


def _group_section(comparison: Comparison, grouping: str) -> list[str]:
    chosen = comparison.groups[comparison.groups["grouping"] == grouping]
    changes = comparison.group_differences[comparison.group_differences["grouping"] == grouping]
    if chosen["value"].nunique() == 1:
        return [f"### By {grouping}", f"All clips: {chosen['value'].iloc[0]}."]
    return [
        f"### By {grouping}",
        _markdown(chosen.drop(columns="grouping")),
        _markdown(changes.drop(columns=["grouping", "clips", "speakers"])),
    ]


def _markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; an open value (nan) is empty."""
    rows = [table.columns, ["---"] * table.shape[1], *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
