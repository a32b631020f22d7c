"""Summaries of rounds against examples worked out by hand and against the slow, obvious way."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ser_mlops.errors import DataError
from ser_mlops.scores.resampling import summarise_rounds
from ser_mlops.seeds import rng
from tests.builders import tiny_predictions
from tests.scores.builders import answered, scored


def test_mean_and_sd_over_rounds_are_those_worked_out_by_hand() -> None:
    # Two clips each of neutral and happy. Round 0: recalls 1/2 and 1/2, UAR 0.5. Round 1: recalls 1 and 1/2, UAR 0.75.
    rounds = [answered("aabb", [0, 1, 0, 1], [0, 0, 1, 1]), answered("aabb", [0, 1, 0, 1], [0, 0, 0, 1])]
    table = summarise_rounds(rounds, seed=1).table
    assert table.loc["uar", "mean"] == pytest.approx(0.625)
    assert table.loc["uar", "sd"] == pytest.approx(0.25 / np.sqrt(2))
    assert table.loc["recall/neutral", "mean"] == pytest.approx(0.75)


def test_two_speakers_one_always_right_span_all_of_the_scale() -> None:
    # A draw is aa (1/4, accuracy 1), bb (1/4, accuracy 0) or mixed (1/2, accuracy 0.5): the outer 2.5 % are 0 and 1.
    summary = summarise_rounds([answered("aabb", [0, 1, 0, 1], [0, 1, 1, 0])], seed=1)
    assert tuple(summary.table.loc["accuracy", ["mean", "ci_low", "ci_high"]]) == (0.5, 0.0, 1.0)
    assert "2 speakers" in summary.notes[0]


def test_one_round_has_no_sd() -> None:
    assert np.isnan(summarise_rounds([tiny_predictions(1, 0)], seed=1).table.loc["uar", "sd"])


@pytest.mark.parametrize("seed", range(3))
def test_every_rounds_scores_are_those_of_metrics(seed: int) -> None:
    rounds = [tiny_predictions(1, 10 * seed + position, labels=[0, 2, 3, 6]) for position in range(3)]
    by_round = summarise_rounds(rounds, seed=1, trained_labels=[0, 2, 4], resamples=10).rounds
    for position, table in enumerate(rounds):
        expected = {name: value for name, value in scored(table, [0, 2, 4]).items() if name != "chance"}
        assert by_round[position].to_dict() == pytest.approx(expected, abs=1e-12)


def test_intervals_are_those_of_a_bootstrap_that_gathers_every_drawn_speakers_clips() -> None:
    rounds = [tiny_predictions(1, position, speakers=5) for position in range(2)]
    speakers = [f"CREMA/{number}" for number in range(5)]

    def slowly(drawn: np.ndarray) -> float:
        gathered = [pd.concat([table[table["speaker"] == speakers[int(number)]] for number in drawn]) for table in rounds]
        return float(np.mean([scored(table)["f1_macro"] for table in gathered]))

    expected = stats.bootstrap(
        (np.arange(5),), slowly, n_resamples=60, batch=60, vectorized=False, method="percentile", rng=rng(1, "bootstrap")
    ).confidence_interval
    summary = summarise_rounds(rounds, seed=1, resamples=60).table
    assert tuple(summary.loc["f1_macro", ["ci_low", "ci_high"]]) == pytest.approx(tuple(expected))


def test_the_order_of_rows_changes_nothing() -> None:
    rounds = [tiny_predictions(1, position) for position in range(2)]
    shuffled = [rounds[0].sample(frac=1, random_state=1), rounds[1].sample(frac=1, random_state=2)]
    pd.testing.assert_frame_equal(summarise_rounds(shuffled, seed=3).table, summarise_rounds(rounds, seed=3).table)


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    rounds = [tiny_predictions(1, 0)]
    first, again, other = (summarise_rounds(rounds, seed=seed, resamples=200).table.loc["loss", "ci_low"] for seed in (1, 1, 2))
    assert first == again != other


def test_one_speaker_is_resampled_by_clips_and_a_note_says_so() -> None:
    summary = summarise_rounds([tiny_predictions(1, 0, speakers=1)], seed=1)
    assert summary.units.kind == "clip"
    assert "one speaker" in summary.notes[0]
    assert summary.table.loc["uar", "ci_low"] < summary.table.loc["uar", "mean"] < summary.table.loc["uar", "ci_high"]


def test_a_single_clip_has_scores_and_an_open_interval() -> None:
    table = summarise_rounds([answered("a", [1], [1])], seed=1).table
    assert table.loc["uar", "mean"] == 1.0
    assert table[["ci_low", "ci_high"]].isna().all(axis=None)


def test_every_clip_of_an_unknown_speaker_is_its_own_unit() -> None:
    table = tiny_predictions(1, 0, speakers=2)
    table.loc[table["speaker"] == "CREMA/0", "speaker"] = "CREMA/unknown"
    assert summarise_rounds([table], seed=1, resamples=10).units.count == 1 + (table["speaker"] == "CREMA/unknown").sum()


def test_an_emotion_that_a_resample_lacks_leaves_its_recall_out_of_it() -> None:
    table = answered("abcd", [0, 0, 0, 1], [0, 0, 1, 1])
    summary = summarise_rounds([table], seed=1).table
    assert tuple(summary.loc["recall/happy", ["ci_low", "ci_high"]]) == (1.0, 1.0)
    assert not summary.drop(columns="sd").isna().any(axis=None)


def test_rounds_over_other_clips_are_refused() -> None:
    with pytest.raises(DataError, match="round 1 was tested on other clips"):
        summarise_rounds([tiny_predictions(1, 0), tiny_predictions(1, 0, speakers=3)], seed=1)
    with pytest.raises(DataError, match="tested twice"):
        summarise_rounds([pd.concat([tiny_predictions(1, 0)] * 2)], seed=1)
