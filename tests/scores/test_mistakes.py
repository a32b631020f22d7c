"""What an experiment gets wrong, stated by hand: which clips, how sure, whose, and in how many rounds."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from ser_mlops.emotions import VOTES
from ser_mlops.scores.figures.mistakes import confidences, confused_pairs, wrong_by_group, wrong_in_rounds
from ser_mlops.scores.figures.style import save
from ser_mlops.scores.mistakes import find_mistakes
from ser_mlops.scores.mistakes_page import mistakes_page
from tests.scores.builders import answered

LABELS = [0, 0, 1, 1, 2, 2]
ROUNDS = [answered("aabbab", LABELS, [0, 1, 1, 2, 2, 1], 0.6), answered("aabbab", LABELS, [0, 1, 2, 2, 2, 2], 0.8)]
FACTS = pd.DataFrame(
    {
        "path": [f"X/{number}.wav" for number in range(6)],
        "text": ["", "one", "one", "one", "two", "two"],
        "seconds": [1.0, 1.0, 2.0, 2.0, 3.0, 4.0],
        "rule": "",
    }
)


@pytest.fixture(scope="module")
def mistakes():
    return find_mistakes(ROUNDS, FACTS)


def test_every_wrong_answer_is_listed_with_its_clip_and_no_other(mistakes):
    found = {(row.path, row.round, row.emotion, row.answer) for row in mistakes.answers.itertuples()}
    assert found == {
        ("X/1.wav", 0, "neutral", "happy"),
        ("X/3.wav", 0, "happy", "sad"),
        ("X/5.wav", 0, "sad", "happy"),
        ("X/1.wav", 1, "neutral", "happy"),
        ("X/2.wav", 1, "happy", "sad"),
        ("X/3.wav", 1, "happy", "sad"),
    }
    assert mistakes.answers["confidence"].tolist() == pytest.approx([0.8] * 3 + [0.6] * 3)
    assert mistakes.answers["p_emotion"].tolist() == pytest.approx([0.2 / 6] * 3 + [0.4 / 6] * 3)


def test_no_order_of_rows_moves_an_answer_to_another_clip(mistakes):
    shuffled = [table.sample(frac=1, random_state=number, ignore_index=True) for number, table in enumerate(ROUNDS)]
    again = find_mistakes(shuffled, FACTS.sample(frac=1, random_state=9, ignore_index=True))
    for name in ("clips", "answers", "pairs", "groups", "stability"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(mistakes, name))


def test_clips_hold_their_facts_and_what_each_round_answered(mistakes):
    clip = mistakes.clips.set_index("path").loc["X/5.wav"]
    assert clip[["emotion", "answer_0", "answer_1", "text", "speaker"]].tolist() == ["sad", "happy", "sad", "two", "X/b"]
    assert (clip["wrong"], clip["answer"]) == (1, "sad")
    assert clip["confidence"] == pytest.approx((0.4 / 6 + 0.8) / 2)


def test_pairs_are_shares_of_the_emotions_clips_with_the_opposite_mistake_beside_them(mistakes):
    rows = mistakes.pairs.set_index(["emotion", "answer"])
    assert rows.loc[("happy", "sad"), ["clips", "share", "back"]].tolist() == [1.5, 0.75, 0.25]
    assert rows.loc[("neutral", "happy"), ["clips", "share", "back"]].tolist() == [1.0, 0.5, 0.0]
    assert mistakes.pairs["share"].is_monotonic_decreasing


def test_groups_are_by_speaker_sentence_and_quarters_of_length_and_leave_out_what_all_share(mistakes):
    groups = mistakes.groups.set_index(["grouping", "value"])
    assert groups.loc[("speaker", "X/a"), ["clips", "wrong"]].tolist() == [3, 1 / 3]
    assert groups.loc[("speaker", "X/b"), ["clips", "wrong", "usual_mistake"]].tolist() == [3, pytest.approx(2 / 3), "happy → sad"]
    assert groups.loc[("sentence", "none"), "wrong"] == 0
    assert {*mistakes.groups["grouping"]} == {"emotion", "speaker", "sentence", "length"}  # one corpus, gender, language and rule
    assert [*groups.loc["length"].index] == ["1.00 to 1.25 s", "1.25 to 2.00 s", "2.75 to 4.00 s"]  # the third quarter is empty
    assert groups.loc["length", "clips"].sum() == 6


def test_what_stays_and_what_changes_from_seed_to_seed(mistakes):
    assert mistakes.stability["clips"].tolist() == [2, 2, 2]
    assert mistakes.stability["same_answer"].tolist() == [0, 2, 2]
    assert mistakes.metrics["wrong"] == pytest.approx(0.5)
    assert mistakes.metrics["wrong_in_all_rounds"] == pytest.approx(2 / 6)
    assert mistakes.metrics["wrong_in_some_rounds"] == pytest.approx(2 / 6)
    assert mistakes.agreement == pytest.approx(4 / 6)
    both = np.array([0, 1, 1, 2, 2, 1]), np.array([0, 1, 2, 2, 2, 2])
    shares = np.bincount(np.concatenate(both)) / 12
    assert mistakes.kappa == pytest.approx((4 / 6 - (shares**2).sum()) / (1 - (shares**2).sum()))
    assert mistakes.kappa == pytest.approx(cohens_kappa(np.histogram2d(*both, bins=3)[0]).kappa, abs=0.05)


def test_a_single_round_says_nothing_about_seeds():
    alone = find_mistakes(ROUNDS[:1], FACTS)
    assert alone.metrics == {"wrong": 0.5, "wrong_in_all_rounds": 0.5}
    assert "From seed to seed" not in mistakes_page(alone, "one round", top=5)


def test_listeners_appear_where_they_voted(mistakes):
    assert mistakes.listeners.empty
    votes = FACTS.assign(**dict.fromkeys(VOTES[:3], 0))
    votes.loc[1, ["votes_neutral", "votes_happy"]] = 2, 8  # listeners hear what the model hears
    votes.loc[5, "votes_sad"] = 10
    table = find_mistakes(ROUNDS, votes).listeners.set_index("emotion")
    assert table["clips"].tolist() == [2, 1, 1]
    assert table.loc["neutral", ["votes_for_label", "votes_for_answer", "answer_is_first_choice"]].tolist() == [0.2, 0.8, 1.0]
    assert table.loc["sad", ["votes_for_label", "votes_for_answer", "wrong_where_heard"]].tolist() == [1.0, 0.5, 0.5]
    assert (table.loc["all", "wrong_where_heard"], table.loc["all", "wrong_elsewhere"]) == (0.5, 1.0)
    assert "## Listeners" in mistakes_page(find_mistakes(ROUNDS, votes), "voted", top=5)


def test_listeners_who_heard_another_emotion_count():
    votes = FACTS.assign(votes_neutral=0, votes_happy=0, votes_other=0)
    votes.loc[1, ["votes_happy", "votes_other"]] = 4, 6  # the model answers happy
    table = find_mistakes(ROUNDS, votes).listeners.set_index("emotion")
    assert table.loc["all", ["votes_for_answer", "answer_is_first_choice"]].tolist() == [0.4, 0.0]


def test_the_page_says_what_it_cuts_and_lists_what_every_round_gets_wrong(mistakes):
    page = mistakes_page(mistakes, "Errors", top=1, notes=["a note"], warning="synthetic data")
    assert "**synthetic data**" in page
    assert "- a note" in page
    assert "50.0% of the answers to 6 clips are wrong, at a mean confidence of 70.0%." in page
    assert "Every round gets 33.3% of the clips wrong; another 33.3% are wrong in one of the 2 rounds." in page
    assert "The first 1 of 6 wrong answers, the surest first." in page
    assert "The first 1 of 2 clips that every round gets wrong" in page


def test_a_model_without_mistakes_has_a_page_and_figures_too(tmp_path):
    flawless = find_mistakes([answered("ab", [0, 1], [0, 1])] * 2, FACTS)
    assert "No wrong answers" in mistakes_page(flawless, "flawless", top=5)
    save(confused_pairs(flawless.pairs, "flawless"), tmp_path / "pairs.png")
    save(confidences(np.array([0.9, 0.9]), np.array([]), "flawless"), tmp_path / "confidence.png")


def test_figures_are_drawn(mistakes, tmp_path):
    figures = {
        "pairs": confused_pairs(mistakes.pairs, "pairs"),
        "rounds": wrong_in_rounds(mistakes.clips, 2, "rounds"),
        "speakers": wrong_by_group(mistakes.groups.query("grouping == 'speaker'"), 0.5, "speakers"),
    }
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    heights = [bar.get_height() for bar in figures["rounds"].axes[0].patches]
    assert sum(heights) == 6
