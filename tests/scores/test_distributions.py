"""Scores of distributions against scipy, and beside the others."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cosine, jensenshannon
from scipy.special import softmax
from scipy.stats import entropy, t

from ser_mlops.emotions import VOTES
from ser_mlops.scores.comparison import compare
from ser_mlops.scores.distributions import distances
from ser_mlops.scores.intervals import estimate, interval
from ser_mlops.scores.metrics import NONE_SHARED, VOTE_SCORES, score, scores_of, sums_of
from ser_mlops.scores.predictions import ensemble_of, logits_of, prediction_table, votes_of
from ser_mlops.scores.summary import summarise_rounds
from tests.builders import tiny_predictions


def heard(rounds: int, seed: int = 0, unheard: float = 0.2) -> list[pd.DataFrame]:
    """Prediction tables of some rounds whose clips have ten votes each; about some, nobody heard one of the seven."""
    tables = [tiny_predictions(1, number) for number in range(rounds)]
    random = np.random.default_rng(seed)
    votes = random.multinomial(10, np.ones(8) / 8, len(tables[0]))
    votes[random.random(len(votes)) < unheard, :-1] = 0
    return [prediction_table(table.assign(**dict(zip(VOTES, votes.T, strict=True))), logits_of(table)) for table in tables]


@pytest.mark.parametrize("seed", range(5))
def test_every_clips_distances_equal_scipys(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 5, (50, 7))
    votes = random.multinomial(random.integers(1, 12), random.dirichlet(np.full(8, 0.3)), 50)
    votes[:, 0] += 1
    q, p = votes[:, :-1] / votes[:, :-1].sum(axis=1, keepdims=True), softmax(logits, axis=1)
    found = distances(logits, votes)
    assert found[:, 0] == pytest.approx(jensenshannon(p, q, base=2, axis=1) ** 2, abs=1e-9)
    assert found[:, 1] == pytest.approx(entropy(q, axis=1) + entropy(q, p, axis=1), abs=1e-9)
    assert found[:, 2] == pytest.approx([1 - cosine(*pair) for pair in zip(p, q, strict=True)], abs=1e-9)


def test_distances_have_their_ends_where_they_say():
    votes = np.array([[4, 4, 0, 0, 0, 0, 0, 3], [1, 0, 0, 0, 0, 0, 0, 0]])
    with np.errstate(divide="ignore"):
        same, apart = np.log(votes[:, :-1] / votes[:, :-1].sum(axis=1, keepdims=True)), np.log(np.eye(7)[[2, 2]])
    assert distances(same, votes)[:, [0, 2]] == pytest.approx(np.array([[0, 1], [0, 1]]), abs=1e-12)
    assert distances(same, votes)[:, 1] == pytest.approx([np.log(2), 0])
    assert distances(apart, votes)[:, [0, 2]] == pytest.approx(np.array([[1, 0], [1, 0]]), abs=1e-12)


def test_scores_are_means_over_the_clips_with_votes_and_leave_the_others_alone():
    (table,) = heard(1)
    logits, labels, votes = logits_of(table), table["labels"].to_numpy(), votes_of(table)
    with_votes, without = score(logits, labels, range(7), votes_NV=votes), score(logits, labels, range(7))
    assert {*with_votes} - {*without} == {*VOTE_SCORES}
    assert {name: with_votes[name] for name in without} == without
    has_votes = votes[:, :-1].any(axis=1)
    assert 0 < has_votes.sum() < len(table)
    assert [with_votes[name] for name in VOTE_SCORES] == pytest.approx(distances(logits, votes)[has_votes, :3].mean(axis=0), abs=1e-12)


def test_a_table_has_votes_only_where_anybody_heard_one_of_the_emotions():
    clips = tiny_predictions(1, 0)
    assert not {*VOTES} & {*prediction_table(clips.assign(**dict.fromkeys(VOTES, 0)), logits_of(clips)).columns}
    (table,) = heard(1)
    both = pd.concat([table, clips.assign(path="another/" + clips["path"])])  # a corpus with votes, one without
    assert votes_of(both)[len(table) :].sum() == 0
    assert score(logits_of(both), both["labels"].to_numpy(), (), votes_NV=votes_of(both))["cosine"] == pytest.approx(
        score(logits_of(table), table["labels"].to_numpy(), (), votes_NV=votes_of(table))["cosine"]
    )


def test_summaries_have_them_with_intervals_and_ensembles_keep_the_votes():
    rounds = heard(2)
    summary = summarise_rounds(rounds)
    by_round = [score(logits_of(table), table["labels"].to_numpy(), (), votes_NV=votes_of(table)) for table in rounds]
    for name in VOTE_SCORES:
        row = summary.table.loc[name]
        assert summary.rounds.loc[name].tolist() == pytest.approx([scores[name] for scores in by_round], abs=1e-12)
        assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert (votes_of(ensemble_of(rounds)) == votes_of(rounds[0].sort_values("path"))).all()
    older = [rounds[0], rounds[1].drop(columns=[*VOTES])]
    assert not {*VOTE_SCORES} & {*summarise_rounds(older).table.index}


def test_the_interval_is_students_t_over_speakers_who_have_as_many_votes():
    (table,) = heard(1, unheard=0)
    found = summarise_rounds([table]).table.loc["js_divergence", ["ci_low", "ci_high"]]
    by_speaker = pd.Series(distances(logits_of(table), votes_of(table))[:, 0]).groupby(table["speaker"].to_numpy()).mean()
    expected = t.interval(0.95, len(by_speaker) - 1, by_speaker.mean(), by_speaker.std(ddof=1) / np.sqrt(len(by_speaker)))
    assert tuple(found) == pytest.approx(expected)


def test_their_intervals_cover_what_other_speakers_would_score():
    """Of 300 repeats, 95 % ± 1.3 % are expected to cover; 90 % is four standard deviations below."""
    random = np.random.default_rng(1)
    names = ["js_divergence", "cross_entropy", "cosine"]
    truth = scores_of(sums_of_speakers(random, 20_000).sum(axis=0), names)
    covered = np.zeros(len(names))
    for _ in range(300):
        low, high = interval(estimate(sums_of_speakers(random, 8)[:, None], np.zeros(8), names))
        covered += (low <= truth) & (truth <= high)
    assert (covered / 300 > 0.90).all()


def sums_of_speakers(random: np.random.Generator, count: int) -> np.ndarray:
    """Sums [U, F] of speakers with 14 clips each, who differ in how well they are understood; about some clips nobody was asked."""
    labels = np.tile(np.arange(7), 2 * count)
    speakers = np.repeat(np.arange(count), 14)
    logits = random.normal(0, 1, (len(labels), 7))
    logits[np.arange(len(labels)), labels] += random.normal(1, 0.7, count)[speakers]
    votes = random.multinomial(10, np.full(8, 1 / 8), len(labels))
    votes[np.arange(len(labels)), labels] += 5
    votes[random.random(len(labels)) < 0.3] = 0
    return sums_of(logits, labels, NONE_SHARED, speakers, count, votes)


def test_experiments_are_compared_in_them_if_all_have_votes():
    one, other = heard(2), heard(2)
    differences = compare({"one": one, "other": other}, seed=1, resamples=20).differences
    assert {*VOTE_SCORES} <= {*differences["score"]}
    older = [table.drop(columns=[*VOTES]) for table in other]
    assert not {*VOTE_SCORES} & {*compare({"one": one, "other": older}, seed=1, resamples=20).differences["score"]}
