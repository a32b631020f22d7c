"""What the parent run sums up: every clip counts once per round, each test set by the emotions that its own trainings know."""

import re

import numpy as np
import pandas as pd
import pytest

from ser_mlops.experiments import descriptions
from ser_mlops.experiments.descriptions import describe_summary, format_summary
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.experiments.results import Result, results_by_test, rounds_of, summarise, trained_by_all
from ser_mlops.scores.predictions import prediction_table
from ser_mlops.scores.summary import MORE_SPEAKERS, summarise_rounds
from ser_mlops.tracking.runlog import MAX_TAG_CHARACTERS
from tests.builders import parted_frame, tiny_frame

FRAMES = {
    "A": tiny_frame("A", {"a0": 0, "a1": 1, "a2": 2}),
    "B": tiny_frame("B", {"b0": 0, "b1": 1}, labels=(0, 1)),
    "C": tiny_frame("C", {"c0": 0, "c1": 1}, labels=(0, 1)),
    "OFFICIAL": parted_frame("OFFICIAL", {"t": "train", "u": "train", "v": "validation", "x": "test1", "y": "test2"}),
}


def results_of(corpora: str, rounds: int = 2, **given) -> list[Result]:
    """The results of an experiment whose models guess."""
    settings = {"train_datasets": (), "test_dataset": None, "test_split_source": None, "fold": 0, "validation_share": 0.15, "seed": 1}
    trainings = plan_trainings({name: FRAMES[name] for name in corpora.split()}, **(settings | given))
    random = np.random.default_rng(0)
    return [
        Result(
            training,
            round,
            1,
            pd.DataFrame({"epoch": [1], "val/uar": [0.9]}),
            {name: prediction_table(frame, random.normal(size=(len(frame), 7))) for name, frame in training.tests.items()},
        )
        for training in trainings
        for round in range(rounds)
    ]


@pytest.mark.parametrize(
    ("corpora", "given", "tests"),
    [
        ("A", {"experiment_type": "indep", "test_dataset": "A"}, [""]),
        ("A", {"experiment_type": "indep", "test_dataset": "A", "fold": "all"}, [""]),
        ("OFFICIAL", {"experiment_type": "indep", "test_dataset": "OFFICIAL"}, ["", "OFFICIAL_test1", "OFFICIAL_test2"]),
        ("A B", {"experiment_type": "cross"}, ["", "A", "B"]),
        ("A B OFFICIAL", {"experiment_type": "cross", "fold": "all"}, ["", "A", "B", "OFFICIAL_test1", "OFFICIAL_test2"]),
        ("A B C", {"experiment_type": "matrix"}, ["", "A", "B", "C"]),
        ("A B", {"experiment_type": "grid"}, ["A to A", "A to B", "B to A", "B to B"]),
        ("A B", {"experiment_type": "grid", "fold": "all"}, ["A to A", "A to B", "B to A", "B to B"]),
        ("A B", {"experiment_type": "within"}, ["", "A", "B"]),
    ],
)
def test_every_clip_counts_once_per_round_in_every_kind_of_experiment(corpora, given, tests):
    by_test = results_by_test(results_of(corpora, **given))
    assert list(by_test) == tests
    for results in by_test.values():
        for table in rounds_of(results):
            assert not table["path"].duplicated().any()
        summary = summarise_rounds(rounds_of(results), trained_by_all(results))
        assert summary.rounds.shape[1] == 2


def test_all_folds_together_are_the_whole_corpora():
    results = results_of("A B", experiment_type="cross", fold="all")
    (first, _) = rounds_of(results_by_test(results)[""])
    assert sorted(first["path"]) == sorted([*FRAMES["A"]["path"], *FRAMES["B"]["path"]])


def test_a_clip_that_several_folds_test_counts_as_the_first_tested_it():
    results = results_of("A B", rounds=1, experiment_type="cross", fold="all")
    (table,) = rounds_of(results_by_test(results)["B"])
    tested = [result.tables["B"] for result in results]
    assert len(tested) == 3
    pd.testing.assert_frame_equal(table, pd.concat(tested[:2], ignore_index=True))


def test_the_mean_of_a_test_set_is_the_mean_of_its_own_trainings_scores():
    results = results_of("A B C", experiment_type="matrix")
    assert trained_by_all(results) == {0, 1}
    for test, some in results_by_test(results).items():
        mean = summarise_rounds(rounds_of(some), trained_by_all(some)).table["mean"]
        if test:
            for score in ("uar", "uar_shared", "accuracy"):
                assert mean[score] == pytest.approx(np.mean([result.scores[test][score] for result in some])), (test, score)


@pytest.mark.parametrize(
    ("corpora", "given"),
    [
        ("A B", {"experiment_type": "within"}),
        ("A B", {"experiment_type": "cross", "fold": "all"}),
        ("A B C", {"experiment_type": "matrix"}),
        ("A B", {"experiment_type": "grid", "fold": "all"}),
    ],
)
def test_the_table_of_corpora_says_what_the_summary_says(corpora, given):
    results = results_of(corpora, **given)
    summary = summarise(results)
    for name in ("uar", "uar_shared", "chance"):
        told = {(training, test): value for (training, test), value in summary.matrix(name).stack().dropna().items()}
        tests = [test for test in summary.by_test if test not in ("", "mean")]
        means = {test: summary.metrics[f"test/{test}/{name if name == 'chance' else f'{name}_mean'}"] for test in tests}
        assert list(told.values()) == list(means.values())
        if given["experiment_type"] == "grid":
            assert [f"{training} to {test}" for training, test in told] == tests
        else:
            assert [test for _, test in told] == tests


def described(results: list[Result]) -> str:
    return describe_summary("grid A+B", summarise(results), "synthetic data", "[curves](#/x)")


def test_a_description_begins_with_the_score_and_tells_every_test_set_and_round():
    results = results_of("A B C", experiment_type="matrix", rounds=3)
    text = described(results)
    assert re.match(r"\*\*UAR 0\.\d{3} ± 0\.\d{3}, mean of 3 test sets, no interval\*\* — \*\*synthetic data", text)
    assert "- mean, pooled, A, B: no interval of uar, accuracy: all speakers of a corpus score alike" in text
    assert f"- pooled, C: C has two test speakers, too few to say anything about others ({MORE_SPEAKERS})" in text
    for test in ("mean", "pooled", "A", "B", "C"):
        (row,) = re.findall(rf"^{test} +0\.\d+ ± .*", text, re.MULTILINE)
        assert (" 0.500 " in row) == (test != "mean")  # chance
    for result in results[::3]:
        scores = " +".join(f"{other.scores['']['uar']:.3f}" for other in results if other.training is result.training)
        assert re.search(rf"^{result.training.name} +{result.training.test_dataset} +{scores}$", text, re.MULTILINE)


def test_one_test_speaker_has_no_interval_among_the_metrics_in_the_description_and_in_the_terminal():
    results = results_of("A", experiment_type="indep", test_dataset="A", rounds=3)
    summary = summarise(results)
    assert "test/uar_sd" in summary.metrics
    assert not [name for name in summary.metrics if "_ci_" in name]
    caution = f"- no interval: A has one test speaker, who says nothing about others ({MORE_SPEAKERS})"
    assert re.match(r"\*\*UAR 0\.\d{3} ± 0\.\d{3}, no interval\*\*", described(results))
    for text in (described(results), format_summary(summary)):
        assert caution in text
        assert "[" not in text.replace("[curves]", "")


def test_a_description_that_is_too_long_leaves_whole_rows_out_and_says_so(monkeypatch):
    monkeypatch.setattr(descriptions, "MAX_TAG_CHARACTERS", 2500)
    results = results_of("A B C", experiment_type="grid", rounds=8)
    text = described(results)
    assert len(text) <= 2500 < MAX_TAG_CHARACTERS
    (left_out,) = re.findall(r"\n… and (\d+) more rows, in rounds\.csv\n", text)
    assert len(re.findall(r"^[ABC] to A, B, C fold 0 ", text, re.MULTILINE)) + int(left_out) == 3 * len(["pooled", *"ABC"])
