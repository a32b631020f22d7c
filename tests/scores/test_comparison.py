"""Comparisons against examples worked out by hand and against the slow, obvious way."""

from itertools import product

import numpy as np
import pytest

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError
from ser_mlops.scores.comparison import DIFFERS, MAY_BE_DIVISION, MAY_BE_SEED, _rounds_p, compare
from ser_mlops.scores.predictions import LOGIT
from tests.builders import tiny_predictions
from tests.scores.builders import answered, scored


def test_six_speakers_served_right_by_one_alone_give_the_p_worked_out_by_hand() -> None:
    # Of the 2**6 ways to swap speakers, one is as extreme as the data, and one as extreme the other way: p = 2 / 64.
    labels = [0, 1] * 6
    wrong, right = (answered("aabbccddeeff", labels, predicted) for predicted in ([1, 0] * 6, labels))
    differences = compare({"wrong": [wrong], "right": [right]}, seed=1).differences.set_index("score")
    assert differences.loc["accuracy", "difference"] == 1.0
    assert differences.loc["accuracy", ["ci_low", "ci_high"]].isna().all()  # every speaker differs by as much: no spread to judge by
    assert differences.loc["accuracy", "p_units"] == pytest.approx(2 / 64)


def test_p_over_speakers_is_that_of_all_swaps_done_one_by_one() -> None:
    first, second = tiny_predictions(0.9, 0, speakers=6), tiny_predictions(1.3, 1, speakers=6)
    numbers = first["speaker"].str.removeprefix("CREMA/").astype(int).to_numpy()
    changes = []
    for swaps in product([False, True], repeat=6):
        is_swapped = np.array(swaps)[numbers][:, None]
        columns = [f"{LOGIT}{emotion}" for emotion in EMOTIONS]
        one = first.assign(**dict(zip(columns, np.where(is_swapped, second[columns], first[columns]).T, strict=True)))
        other = first.assign(**dict(zip(columns, np.where(is_swapped, first[columns], second[columns]).T, strict=True)))
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


def test_a_trained_and_an_untrained_experiment_are_claimed_to_differ() -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position, takes=6) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    comparison = compare(experiments, seed=1)
    assert (comparison.differences["verdict"] == DIFFERS).all()
    assert "p over speakers swaps the predictions of whole speakers (8)" in comparison.notes


@pytest.mark.parametrize("speakers", [1, 2, 5])
def test_too_few_speakers_claim_nothing_and_the_verdict_says_how_many_are_needed(speakers: int) -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position, speakers=speakers, takes=6) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    comparison = compare(experiments, seed=1)
    (verdict,) = set(comparison.differences["verdict"])
    assert verdict.startswith(f"nothing can be claimed with {speakers} speaker")
    assert "6 are needed (to test more, use another corpus, or `fold=all` where one fold is held out)" in verdict
    assert comparison.differences[["p_units", "p", "p_holm"]].isna().all(axis=None)
    more = {**experiments, "third": experiments["trained"]}
    assert "7 are needed" in compare(more, seed=1).differences["verdict"].iloc[0]  # Holm over three pairs


def test_an_experiment_does_not_differ_from_itself() -> None:
    rounds = [tiny_predictions(1, position) for position in range(3)]
    differences = compare({"one": rounds, "again": rounds}, seed=1).differences
    assert (differences["difference"] == 0).all()
    assert (differences["p_holm"] == 1).all()


def test_one_round_each_is_never_claimed_for_the_settings() -> None:
    comparison = compare({"untrained": [tiny_predictions(0, 0)], "trained": [tiny_predictions(2, 1)]}, seed=1)
    assert set(comparison.differences["verdict"]) == {MAY_BE_SEED}
    assert any("one round each" in note for note in comparison.notes)


def test_between_seeds_and_rules_that_divided_the_clips_differently_nothing_is_claimed() -> None:
    experiments = {
        name: [tiny_predictions(skill, seed + position) for position in range(3)]
        for name, skill, seed in (("untrained", 0.0, 0), ("trained", 2.0, 50))
    }
    for seed, verdict in (("1", DIFFERS), ("2", MAY_BE_DIVISION)):
        divided_by = {"untrained": {"train.seed": "1", "frames.seed": "1"}, "trained": {"train.seed": "1", "frames.seed": seed}}
        comparison = compare(experiments, seed=1, divided_by=divided_by)
        assert set(comparison.differences["verdict"]) == {verdict}
        assert any(note.startswith("frames.seed differs (untrained: 1, trained: 2)") for note in comparison.notes) == (seed == "2")


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


def test_experiments_that_tell_other_emotions_apart_are_refused_by_name() -> None:
    seven = tiny_predictions(1.0, 0)
    four = seven.drop(columns=["logit_fear", "logit_disgust", "logit_surprise"])
    with pytest.raises(DataError, match=r"few tells neutral, happy, sad, angry apart, all neutral, .*: experiments on different emotions"):
        compare({"all": [seven], "few": [four]}, seed=1)
