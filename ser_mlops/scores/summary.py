"""What the rounds of an experiment say together: means, spreads over rounds, and 95 % intervals (`intervals`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ser_mlops.errors import DataError
from ser_mlops.scores.intervals import Estimate, estimate, interval, mean_of
from ser_mlops.scores.metrics import METRICS, score_names, shared_labels
from ser_mlops.scores.predictions import emotions_of, in_one_order
from ser_mlops.scores.units import UNKNOWN, Units, have_votes, unit_sums, units_of

MORE_SPEAKERS = "to test more, use another corpus, or `fold=all` where one fold is held out"
NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class Summary:
    """An experiment's scores over its rounds."""

    table: pd.DataFrame
    """One row per score; mean and sd over rounds (sd: n - 1, nan for one round), ci_low and ci_high (nan: there is no interval)."""
    rounds: pd.DataFrame
    """One row per score, one column per round."""
    estimate: Estimate
    notes: tuple[str, ...]

    @property
    def covers(self) -> str:
        """What the intervals are over."""
        return "speakers and seeds" if self.rounds.shape[1] > 1 else "speakers"


def summarise_rounds(rounds: Sequence[pd.DataFrame], trained_labels: Collection[int] = ()) -> Summary:
    """Summarise the prediction tables of an experiment's rounds: mean, sd and 95 % interval of every score.

    Args:
        rounds: one prediction table per round, over the same clips.
        trained_labels: labels that the training clips have; with none, `uar_shared` is left out.
    """
    rounds = in_one_order(rounds, "rounds")
    units = units_of(rounds[0])
    labels_N = rounds[0]["labels"].to_numpy()
    shared = shared_labels(labels_N, trained_labels)
    emotions = emotions_of(rounds[0])
    names = score_names(labels_N, shared, emotions, with_votes=have_votes(rounds))
    of = estimate(unit_sums(rounds, units, shared), units.corpora_U, names, emotions)
    return _summary(of, interval_notes(units, of))


def score_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Score predictions: one row per score (uar, accuracy, f1_macro, loss, …, recall/happy, …) with its 95 % interval.

    Args:
        predictions: a prediction table, or those of several rounds over the same clips with a column `round`; or a part of their clips,
            such as one gender.

    Returns:
        mean, sd (over rounds; nan for one), ci_low and ci_high (over speakers and, with several rounds, over seeds; nan where there is no
        interval), all float64, by score. `attrs["notes"]` says why there is no interval. `uar_shared`, which depends on the training clips,
        is left out.

    Raises:
        DataError: there are no predictions, a round tested a clip twice, or the rounds tested different clips.
    """
    if predictions.empty:
        raise DataError("no predictions to score")
    rounds = [table for _, table in predictions.groupby("round")] if "round" in predictions else [predictions]
    for table in rounds:
        if (twice := table["path"].duplicated()).any():
            raise DataError(
                f"clip {table.loc[twice, 'path'].iloc[0]!r} was tested twice in one round: score one training (run_id) or test set at a "
                "time, or each clip as it was tested first, as an experiment does: drop_duplicates(['round', 'path'])"
            )
    summary = summarise_rounds(rounds)
    summary.table.attrs["notes"] = summary.notes
    return summary.table


def summarise_tests(summaries: Sequence[Summary]) -> Summary:
    """Return the plain mean over test sets, round by round; scores that a test set lacks are left out, and so are recalls."""
    names = [name for name in METRICS if all(name in summary.table.index for summary in summaries)]
    of = mean_of([summary.estimate.only(names) for summary in summaries])
    lacking = [note for summary in summaries for note in summary.notes if note.startswith(NO_INTERVAL)]
    return _summary(of, tuple(dict.fromkeys(lacking)))


def _summary(of: Estimate, notes: tuple[str, ...]) -> Summary:
    by_round = pd.DataFrame(of.rounds[0], index=pd.Index(of.names, name="score"))
    low, high = interval(of)
    table = pd.DataFrame({"mean": of.mean_M, "sd": by_round.std(axis=1, ddof=1), "ci_low": low, "ci_high": high}, index=by_round.index)
    return Summary(table, by_round, of, notes)


def interval_notes(units: Units, of: Estimate) -> tuple[str, ...]:
    """Say why scores have no interval, and what intervals cannot say; the recalls, of which some often lack one, are not listed."""
    notes = []
    for corpus in np.unique(units.corpora_U):
        names = [name for name, own in zip(units.names, units.corpora_U, strict=True) if own == corpus]
        if len(names) == 1 and names[0].endswith(UNKNOWN):
            notes.append(f"{NO_INTERVAL}: nobody knows the speakers of {corpus}")
        elif len(names) == 1:
            notes.append(f"{NO_INTERVAL}: {corpus} has one test speaker, who says nothing about others ({MORE_SPEAKERS})")
        elif len(names) == 2:
            notes.append(f"{corpus} has two test speakers, too few to say anything about others ({MORE_SPEAKERS})")
    if not any(note.startswith(NO_INTERVAL) for note in notes):
        low, _ = interval(of)
        is_lone = np.isnan(of.shares_MU).any(axis=1)
        for reason, has_none in (
            ("an emotion has a single speaker", is_lone),
            ("all speakers of a corpus score alike", ~is_lone & np.isnan(low)),
        ):
            if lacking := [name for name, lacks in zip(of.names, has_none, strict=True) if lacks and name in METRICS]:
                notes.append(f"{NO_INTERVAL} of {', '.join(lacking)}: {reason}")
    if of.rounds[0].shape[1] == 1:
        notes.append("one round: intervals cover other speakers, not other seeds")
    return tuple(notes)


def format_bounds(low: float, high: float) -> str:
    """Return an interval as text.

    >>> format_bounds(0.25, 0.5), format_bounds(float("nan"), float("nan"))
    ('[0.250, 0.500]', 'no interval')
    """
    return f"[{low:.3f}, {high:.3f}]" if np.isfinite(low) else NO_INTERVAL
