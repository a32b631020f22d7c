"""Summaries of rounds against examples worked out by hand and against the slow, obvious way."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.scores.summary import MORE_SPEAKERS, summarise_rounds, summarise_tests
from tests.builders import tiny_predictions
from tests.scores.builders import answered, scored


def test_mean_and_sd_over_rounds_are_those_worked_out_by_hand() -> None:
    # Two clips each of neutral and happy. Round 0: recalls 1/2 and 1/2, UAR 0.5. Round 1: recalls 1 and 1/2, UAR 0.75.
    rounds = [answered("aabb", [0, 1, 0, 1], [0, 0, 1, 1]), answered("aabb", [0, 1, 0, 1], [0, 0, 0, 1])]
    table = summarise_rounds(rounds).table
    assert table.loc["uar", "mean"] == pytest.approx(0.625)
    assert table.loc["uar", "sd"] == pytest.approx(0.25 / np.sqrt(2))
    assert table.loc["recall/neutral", "mean"] == pytest.approx(0.75)


def test_one_round_has_no_sd() -> None:
    assert np.isnan(summarise_rounds([tiny_predictions(1, 0)]).table.loc["uar", "sd"])


@pytest.mark.parametrize("seed", range(3))
def test_every_rounds_scores_are_those_of_metrics(seed: int) -> None:
    rounds = [tiny_predictions(1, 10 * seed + position, labels=[0, 2, 3, 6]) for position in range(3)]
    by_round = summarise_rounds(rounds, trained_labels=[0, 2, 4]).rounds
    for position, table in enumerate(rounds):
        expected = {name: value for name, value in scored(table, [0, 2, 4]).items() if name != "chance"}
        assert by_round[position].to_dict() == pytest.approx(expected, abs=1e-12)


def test_the_order_of_rows_changes_nothing() -> None:
    rounds = [tiny_predictions(1, position) for position in range(2)]
    shuffled = [rounds[0].sample(frac=1, random_state=1), rounds[1].sample(frac=1, random_state=2)]
    pd.testing.assert_frame_equal(summarise_rounds(shuffled).table, summarise_rounds(rounds).table)


def test_rounds_over_other_clips_are_refused() -> None:
    with pytest.raises(DataError, match="round 1 was tested on other clips"):
        summarise_rounds([tiny_predictions(1, 0), tiny_predictions(1, 0, speakers=3)])
    with pytest.raises(DataError, match="tested twice"):
        summarise_rounds([pd.concat([tiny_predictions(1, 0)] * 2)])


# Intervals


def test_the_interval_of_one_round_is_students_t_over_speakers_where_all_have_as_many_clips() -> None:
    table = tiny_predictions(1, 0, speakers=7)
    is_right = (table["predicted"].astype(str) == table["labels"].map(dict(enumerate(EMOTIONS)))).groupby(table["speaker"]).mean()
    expected = stats.t.interval(0.95, 6, is_right.mean(), is_right.std(ddof=1) / np.sqrt(7))
    found = summarise_rounds([table]).table.loc["accuracy", ["ci_low", "ci_high"]]
    assert tuple(found) == pytest.approx(expected)


def test_the_interval_of_a_recall_is_that_of_the_speakers_who_say_the_emotion() -> None:
    table = answered("aabbccd", [0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 1, 1])
    found = summarise_rounds([table]).table.loc["recall/happy", ["ci_low", "ci_high"]]
    expected = stats.t.interval(0.95, 2, 2 / 3, np.std([1, 0, 1], ddof=1) / np.sqrt(3))
    assert tuple(found) == pytest.approx((max(0, expected[0]), min(1, expected[1])))


def test_leaving_out_is_done_by_scoring_the_other_speakers_clips() -> None:
    rounds = [tiny_predictions(1, position, speakers=5) for position in range(2)]
    of = summarise_rounds(rounds, range(4)).estimate
    for name in ("f1_macro", "uar_shared", "loss"):
        without = [
            np.mean([scored(table[table["speaker"] != f"CREMA/{speaker}"], range(4))[name] for table in rounds]) for speaker in range(5)
        ]
        assert of.left_out_MU[of.names.index(name)] == pytest.approx(without)


def test_rounds_that_differ_widen_the_interval_and_it_says_that_it_covers_seeds() -> None:
    alike = [tiny_predictions(1, 0, speakers=12)] * 3
    differing = [tiny_predictions(skill, 0, speakers=12) for skill in (0.6, 1.0, 1.4)]
    widths = []
    for rounds in (alike[:1], alike, differing):
        summary = summarise_rounds(rounds)
        assert summary.covers == ("speakers" if len(rounds) == 1 else "speakers and seeds")
        assert any("not other seeds" in note for note in summary.notes) == (len(rounds) == 1)
        widths.append(summary.table.loc["uar", "ci_high"] - summary.table.loc["uar", "ci_low"])
    assert widths[0] == pytest.approx(widths[1])
    assert widths[2] > 1.5 * widths[1]


def test_one_speaker_has_no_interval_and_a_note_says_what_would_help() -> None:
    summary = summarise_rounds([tiny_predictions(1, position, speakers=1) for position in range(3)])
    assert summary.table[["ci_low", "ci_high"]].isna().all(axis=None)
    assert f"no interval: CREMA has one test speaker, who says nothing about others ({MORE_SPEAKERS})" in summary.notes


def test_clips_of_unknown_speakers_alone_have_no_interval() -> None:
    summary = summarise_rounds([tiny_predictions(1, 0).assign(speaker="CREMA/unknown")])
    assert summary.table[["ci_low", "ci_high"]].isna().all(axis=None)
    assert "no interval: nobody knows the speakers of CREMA" in summary.notes


def test_clips_of_unknown_speakers_are_one_unit_beside_the_known_ones() -> None:
    table = tiny_predictions(1, 0, speakers=5)
    together = table.assign(speaker=table["speaker"].where(~table["speaker"].isin(["CREMA/0", "CREMA/1"]), "CREMA/unknown"))
    one_person = table.assign(speaker=table["speaker"].where(~table["speaker"].isin(["CREMA/0", "CREMA/1"]), "CREMA/x"))
    pd.testing.assert_frame_equal(summarise_rounds([together]).table, summarise_rounds([one_person]).table)


def test_two_speakers_have_a_wide_interval_and_a_caution() -> None:
    summary = summarise_rounds([answered("aaaabbbb", [0, 1, 2, 3] * 2, [0, 1, 2, 3, 0, 1, 3, 3])])
    assert tuple(summary.table.loc["accuracy", ["ci_low", "ci_high"]]) == (0.0, 1.0)
    assert any(note.startswith("X has two test speakers, too few to say anything about others") for note in summary.notes)


@pytest.mark.parametrize("speakers", ["aabb", "aabbcc", "aabbccddee"])
def test_speakers_who_agree_have_no_interval(speakers: str) -> None:
    labels = [0, 1] * (len(speakers) // 2)
    summary = summarise_rounds([answered(speakers, labels, [0] * len(labels))] * 3)
    assert summary.table.loc["uar", "mean"] == 0.5
    assert summary.table.loc[["uar", "accuracy"], ["ci_low", "ci_high"]].isna().all(axis=None)
    assert any(re.match(r"no interval of uar, accuracy, .*: all speakers of a corpus score alike", note) for note in summary.notes)


def test_an_emotion_of_a_single_speaker_leaves_what_rests_on_it_without_an_interval() -> None:
    summary = summarise_rounds([answered("aabbccc", [0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1, 1])])
    has_interval = summary.table["ci_low"].notna()
    assert {*has_interval[~has_interval].index} == {"uar", "f1_macro", "recall/happy"}
    assert "no interval of uar, f1_macro: an emotion has a single speaker" in summary.notes


def test_several_corpora_are_strata_and_their_variances_add_up() -> None:
    first = tiny_predictions(2, 0, speakers=4)
    second = tiny_predictions(0.5, 1, speakers=4).assign(corpus="TESS")
    second = second.assign(path="TESS" + second["path"], speaker="TESS" + second["speaker"])
    both = pd.concat([first, second])
    low, high = summarise_rounds([both]).table.loc["accuracy", ["ci_low", "ci_high"]]
    variances = []
    for table in (first, second):
        summary = summarise_rounds([table]).table.loc["accuracy"]
        variances.append(((summary["ci_high"] - summary["ci_low"]) / 2 / stats.t.ppf(0.975, 3)) ** 2)
    freedom = sum(variances) ** 2 / sum(variance**2 / 3 for variance in variances)
    expected = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances)) / 2
    assert (high - low) / 2 == pytest.approx(expected, rel=0.02)  # leaving a speaker out shifts the weight of the corpora a little


def test_the_mean_of_test_sets_weighs_them_alike_and_has_an_interval_only_where_all_have_one() -> None:
    big, small = (
        [tiny_predictions(skill, seed + position, speakers=speakers) for position in range(3)]
        for skill, seed, speakers in ((2, 0, 20), (0.5, 9, 4))
    )
    alone = [summarise_rounds(big), summarise_rounds(small)]
    mean = summarise_tests(alone)
    assert mean.table.loc["uar", "mean"] == pytest.approx(np.mean([summary.table.loc["uar", "mean"] for summary in alone]))
    assert mean.rounds.loc["uar"].tolist() == pytest.approx(np.mean([summary.rounds.loc["uar"] for summary in alone], axis=0).tolist())
    spread = [summary.table.loc["uar", "ci_high"] - summary.table.loc["uar", "ci_low"] for summary in alone]
    assert 0.25 * max(spread) < mean.table.loc["uar", "ci_high"] - mean.table.loc["uar", "ci_low"] < max(spread)
    lacking = summarise_tests([alone[0], summarise_rounds([tiny_predictions(1, position, speakers=1) for position in range(3)])])
    assert np.isnan(lacking.table.loc["uar", "ci_low"])
    assert any("one test speaker" in note for note in lacking.notes)
