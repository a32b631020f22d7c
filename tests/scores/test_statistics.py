"""Statistics against examples worked out by hand and against the slow, obvious way."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.scores import metrics
from ser_mlops.scores.calibration import calibration, expected_calibration_error
from ser_mlops.scores.comparison import DIFFERS, MAY_BE_DIVISION, MAY_BE_SEED, _rounds_p, compare
from ser_mlops.scores.comparison_page import comparison_page
from ser_mlops.scores.metrics import SELECTABLE
from ser_mlops.scores.predictions import LOGITS, confusion_of, prediction_table
from ser_mlops.scores.resampling import summarise_rounds
from ser_mlops.seeds import rng
from tests.builders import tiny_predictions


def answered(speakers: str, labels: list[int], predicted: list[int], confidence: float = 0.9) -> pd.DataFrame:
    """A prediction table of clips by one-letter speakers, every answer given with the same confidence."""
    clips = pd.DataFrame(
        {
            "path": [f"X/{number}.wav" for number in range(len(labels))],
            "corpus": "X",
            "gender": "unknown",
            "speaker": [f"X/{speaker}" for speaker in speakers],
            "language": "en",
            "labels": labels,
        }
    )
    probabilities = np.full((len(labels), len(EMOTIONS)), (1 - confidence) / (len(EMOTIONS) - 1))
    probabilities[np.arange(len(labels)), predicted] = confidence
    return prediction_table(clips, np.log(probabilities))


def scored(table: pd.DataFrame, trained: range = range(7)) -> dict[str, float]:
    return metrics.score(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy(), trained)


# Over rounds


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


def test_confusion_counts_true_labels_in_rows() -> None:
    counts = confusion_of(answered("aaa", [0, 0, 3], [0, 6, 3]))
    assert (counts[0, 0], counts[0, 6], counts[3, 3], counts.sum()) == (1, 1, 1, 3)


# Calibration


def test_calibration_error_is_the_one_worked_out_by_hand() -> None:
    # Bin (0.9, 1]: two clips, both right, confidence 0.95: off by 0.05. Bin (0.6, 0.7]: two clips, one right, 0.65: off by 0.15.
    sure = answered("aa", [0, 1], [0, 1], confidence=0.95)
    unsure = answered("aa", [0, 1], [0, 0], confidence=0.65)
    table = pd.concat([sure, unsure])
    bins = calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())
    assert bins["clips"].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert expected_calibration_error(bins) == pytest.approx(0.10)


def test_a_model_that_is_always_sure_and_right_is_calibrated() -> None:
    table = answered("ab", [0, 1], [0, 1], confidence=1 - 1e-12)
    assert expected_calibration_error(calibration(table[list(LOGITS)].to_numpy(), table["labels"].to_numpy())) == pytest.approx(0, abs=1e-9)


# Between experiments


def test_six_speakers_served_right_by_one_alone_give_the_p_worked_out_by_hand() -> None:
    # Of the 2**6 ways to swap speakers, one is as extreme as the data, and one as extreme the other way: p = 2 / 64.
    labels = [0, 1] * 6
    wrong, right = (answered("aabbccddeeff", labels, predicted) for predicted in ([1, 0] * 6, labels))
    differences = compare({"wrong": [wrong], "right": [right]}, seed=1).differences.set_index("score")
    assert differences.loc["accuracy", "difference"] == 1.0
    assert tuple(differences.loc["accuracy", ["ci_low", "ci_high"]]) == (1.0, 1.0)
    assert differences.loc["accuracy", "p_units"] == pytest.approx(2 / 64)


def test_p_over_speakers_is_that_of_all_swaps_done_one_by_one() -> None:
    first, second = tiny_predictions(0.9, 0, speakers=6), tiny_predictions(1.3, 1, speakers=6)
    numbers = first["speaker"].str.removeprefix("CREMA/").astype(int).to_numpy()
    changes = []
    for swaps in product([False, True], repeat=6):
        is_swapped = np.array(swaps)[numbers][:, None]
        one = first.assign(**dict(zip(LOGITS, np.where(is_swapped, second[list(LOGITS)], first[list(LOGITS)]).T, strict=True)))
        other = first.assign(**dict(zip(LOGITS, np.where(is_swapped, first[list(LOGITS)], second[list(LOGITS)]).T, strict=True)))
        changes.append(scored(other)["uar"] - scored(one)["uar"])
    changes = np.array(changes)
    expected = min(1.0, 2 * min(np.mean(changes >= changes[0] - 1e-12), np.mean(changes <= changes[0] + 1e-12)))
    differences = compare({"first": [first], "second": [second]}, seed=1).differences.set_index("score")
    assert differences.loc["uar", "difference"] == pytest.approx(changes[0])
    assert differences.loc["uar", "p_units"] == pytest.approx(expected)


def test_p_over_rounds_is_students_worked_out_by_hand() -> None:
    # Means 0.6 and 0.8, sd 0.1 both, three rounds each: t = 0.2 / (0.1 * sqrt(2 / 3)) = 2.449 with 4 degrees of freedom.
    before, after = np.array([[0.5, 0.6, 0.7], [0.2, 0.2, 0.2]]), np.array([[0.7, 0.8, 0.9], [0.2, 0.2, 0.2]])
    assert _rounds_p(before, after) == pytest.approx([0.0705, 1.0], abs=1e-4)
    assert np.isnan(_rounds_p(before[:, :1], after[:, :1])).all()


def test_p_is_the_larger_of_the_two_and_holm_multiplies_the_smallest_by_the_number_of_pairs() -> None:
    rounds = {
        name: [tiny_predictions(skill, seed + position) for position in range(3)]
        for name, skill, seed in (("a", 1.0, 0), ("b", 1.2, 10), ("c", 0.0, 20))
    }
    uar = compare(rounds, seed=1).differences.query("score == 'uar'")
    assert uar["p"].tolist() == uar[["p_units", "p_rounds"]].max(axis=1).tolist()
    smallest, middle, largest = sorted(uar["p"])
    expected = np.minimum(np.maximum.accumulate([3 * smallest, 2 * middle, largest]), 1)
    assert sorted(uar["p_holm"]) == pytest.approx(expected)


@pytest.mark.parametrize(("repeats", "most", "fewest"), [(4, 0, 0), pytest.param(20, 2, 5, marks=pytest.mark.slow)])
def test_experiments_that_differ_by_their_seed_alone_are_seldom_claimed_to_differ(repeats: int, most: int, fewest: int) -> None:
    """Rounds differ in skill: whoever asked speakers alone would claim a difference far too often.

    At the 5 % level one of 20 is expected, and three or more come by chance with probability 0.08.
    """
    claims, by_speakers = 0, 0
    for repeat in range(repeats):
        skills = np.random.default_rng(repeat).normal(1, 0.25, 6)
        rounds = [tiny_predictions(skill, 100 * repeat + position) for position, skill in enumerate(skills)]
        row = compare({"one": rounds[:3], "other": rounds[3:]}, seed=1, resamples=200).differences.set_index("score").loc["uar"]
        claims += row["verdict"] == DIFFERS
        by_speakers += row["p_units"] < 0.05
    assert claims <= most
    assert by_speakers >= fewest


@pytest.mark.parametrize("speakers", [2, 8])
def test_a_trained_and_an_untrained_experiment_are_claimed_to_differ(speakers: int) -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position, speakers=speakers, takes=6) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    comparison = compare(experiments, seed=1)
    assert (comparison.differences["verdict"] == DIFFERS).all()
    assert any("swaps single clips" in note for note in comparison.notes) == (speakers == 2)


def test_an_experiment_does_not_differ_from_itself() -> None:
    rounds = [tiny_predictions(1, position) for position in range(3)]
    differences = compare({"one": rounds, "again": rounds}, seed=1).differences
    assert (differences["difference"] == 0).all()
    assert (differences["p_holm"] == 1).all()


def test_one_round_each_is_never_claimed_for_the_settings() -> None:
    comparison = compare({"untrained": [tiny_predictions(0, 0)], "trained": [tiny_predictions(2, 1)]}, seed=1)
    assert set(comparison.differences["verdict"]) == {MAY_BE_SEED}
    assert any("one round each" in note for note in comparison.notes)


def test_between_seeds_that_divided_the_clips_differently_nothing_is_claimed() -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    for training_seeds, verdict in (({"untrained": "1", "trained": "1"}, DIFFERS), ({"untrained": "1", "trained": "2"}, MAY_BE_DIVISION)):
        assert set(compare(experiments, seed=1, training_seeds=training_seeds).differences["verdict"]) == {verdict}


def test_clips_and_rounds_that_not_all_have_are_left_out_with_a_note() -> None:
    more = [tiny_predictions(1, position, takes=5) for position in range(3)]
    fewer = [tiny_predictions(1, position, takes=4) for position in range(2)]
    comparison = compare({"more": more, "fewer": fewer}, seed=1)
    assert set(comparison.scores["clips"]) == {len(fewer[0])}
    assert "more: 48 clips that not all tested are left out" in comparison.notes
    assert "more: rounds after the first 2 are left out" in comparison.notes


def test_experiments_that_cannot_be_paired_are_refused() -> None:
    one = tiny_predictions(1, 0)
    with pytest.raises(DataError, match="two or more experiments, got 1"):
        compare({"one": [one]}, seed=1)
    with pytest.raises(DataError, match="fewer than two clips were tested by all of: one, other"):
        compare({"one": [one], "other": [one.assign(path="TESS/" + one["path"])]}, seed=1)
    with pytest.raises(DataError, match="has another label there"):
        compare({"one": [one], "other": [one.assign(labels=(one["labels"] + 1) % 6)]}, seed=1)


def test_groups_say_who_is_served_how_well() -> None:
    table = answered("aabb", [0, 1, 0, 1], [0, 1, 0, 0])
    table["gender"] = ["female", "female", "male", "male"]
    comparison = compare({"one": [table], "other": [table]}, seed=1)
    served = comparison.groups.query("grouping == 'gender' and experiment == 'one'").set_index("value")
    assert served["uar"].to_dict() == {"female": 1.0, "male": 0.5}
    assert served["speakers"].to_dict() == {"female": 1, "male": 1}
    gap = comparison.gaps.query("grouping == 'gender' and experiment == 'one'").iloc[0]
    assert (gap["best"], gap["worst"], gap["gap"]) == ("female", "male", 0.5)


def test_the_page_claims_first_and_names_every_score() -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    page = comparison_page(compare(experiments, seed=1), "Trained against untrained", "synthetic data")
    head = page.split("## Scores")[0]
    assert "**synthetic data**" in head
    assert "**trained** against **untrained**" in head
    assert "differs." in head
    assert all(re.search(rf"\| {name} +\|", page) for name in SELECTABLE)
    assert "nan" not in page
