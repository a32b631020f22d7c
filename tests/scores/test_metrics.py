"""Every score is pinned by examples worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from ser_mlops.emotions import EMOTIONS
from ser_mlops.scores.metrics import LOWER_IS_BETTER, SELECTABLE, is_better, score

ALL = range(len(EMOTIONS))
NEUTRAL, HAPPY, SAD, ANGRY, FEAR, DISGUST, SURPRISE = ALL


def logits_for(predicted: list[int], second: int | None = None) -> np.ndarray:
    """Logits that are highest for what is predicted, and second highest for `second`."""
    logits = np.zeros((len(predicted), len(EMOTIONS)))
    if second is not None:
        logits[:, second] = 1.0
    logits[np.arange(len(predicted)), predicted] = 2.0
    return logits


def scores_of(labels: list[int], predicted: list[int], trained=ALL) -> dict[str, float]:
    return score(logits_for(predicted), np.array(labels), trained)


# neutral: 3 of 4 right, happy: 1 of 2, sad: 0 of 1 (taken for neutral); neutral is predicted 4 times, happy 2, angry once.
LABELS = [NEUTRAL, NEUTRAL, NEUTRAL, NEUTRAL, HAPPY, HAPPY, SAD]
PREDICTED = [NEUTRAL, NEUTRAL, NEUTRAL, HAPPY, HAPPY, ANGRY, NEUTRAL]
F1 = {NEUTRAL: 2 * 3 / (4 + 4), HAPPY: 2 * 1 / (2 + 2), SAD: 0.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uar", (3 / 4 + 1 / 2 + 0) / 3),
        ("accuracy", 4 / 7),
        ("f1_macro", (F1[NEUTRAL] + F1[HAPPY] + F1[SAD]) / 3),
        ("f1_weighted", (4 * F1[NEUTRAL] + 2 * F1[HAPPY] + 1 * F1[SAD]) / 7),
        ("recall/neutral", 3 / 4),
        ("recall/happy", 1 / 2),
        ("recall/sad", 0.0),
        ("chance", 1 / 3),
    ],
)
def test_scores_equal_those_worked_out_by_hand(name, expected):
    assert scores_of(LABELS, PREDICTED)[name] == pytest.approx(expected)


def test_the_scores_of_a_test_set_are_those_that_it_can_have():
    plain = {"uar", "accuracy", "f1_macro", "f1_weighted", "loss", "uar_shared", "chance"}
    assert set(scores_of(LABELS, PREDICTED)) == plain | {"recall/neutral", "recall/happy", "recall/sad"}
    assert all(type(value) is float for value in scores_of(LABELS, PREDICTED).values())
    assert set(SELECTABLE) <= plain


def test_uar_averages_over_the_emotions_present_and_predicts_among_all_seven():
    scores = scores_of([NEUTRAL, HAPPY], [NEUTRAL, SURPRISE])
    assert scores["uar"] == 0.5  # over two emotions, not seven; surprise, which nobody has, counts as a mistake all the same


def test_an_emotion_that_is_only_predicted_does_not_change_what_f1_is_averaged_over():
    assert scores_of([NEUTRAL, NEUTRAL], [NEUTRAL, SURPRISE])["f1_macro"] == pytest.approx(2 / 3)


def test_uar_shared_chooses_among_the_emotions_that_both_sides_have():
    logits = logits_for([SURPRISE, SURPRISE, SURPRISE], second=HAPPY)
    scores = score(logits, np.array([HAPPY, HAPPY, NEUTRAL]), {NEUTRAL, HAPPY, SAD})
    assert scores["uar"] == 0.0
    assert scores["uar_shared"] == pytest.approx((1 + 0) / 2)  # among neutral and happy, the second choice, happy, wins
    assert scores["chance"] == 1 / 2


def test_uar_shared_leaves_out_the_clips_of_emotions_that_were_not_trained():
    scores = scores_of([NEUTRAL, HAPPY, SURPRISE, SURPRISE], [NEUTRAL, HAPPY, NEUTRAL, HAPPY], trained={NEUTRAL, HAPPY, SAD})
    assert scores["uar"] == pytest.approx(2 / 3)
    assert scores["uar_shared"] == 1.0
    assert scores["chance"] == 1 / 2


def test_an_emotion_that_only_training_has_is_not_chosen_in_uar_shared():
    scores = scores_of([NEUTRAL, HAPPY], [SAD, SAD], trained=ALL)
    assert scores["uar"] == 0.0
    assert scores["uar_shared"] == 0.5  # neutral and happy tie at 0, so the first, neutral, is chosen both times


def test_sides_that_share_no_emotion_have_no_shared_score():
    scores = scores_of([SURPRISE], [SURPRISE], trained={NEUTRAL})
    assert scores["uar"] == 1.0
    assert not {"uar_shared", "chance"} & set(scores)


def test_one_emotion_alone_is_no_feat_for_uar_shared():
    scores = scores_of([ANGRY, ANGRY], [ANGRY, SAD], trained={ANGRY})
    assert (scores["uar"], scores["uar_shared"], scores["chance"]) == (0.5, 1.0, 1.0)


def test_loss_is_the_mean_cross_entropy_in_nats():
    uniform = np.zeros((1, 7))
    sure = np.log(np.array([[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]]))
    assert score(uniform, np.array([SAD]), ALL)["loss"] == pytest.approx(math.log(7))
    assert score(sure, np.array([NEUTRAL]), ALL)["loss"] == pytest.approx(-math.log(0.4))
    both = score(np.concatenate([uniform, sure]), np.array([SAD, NEUTRAL]), ALL)["loss"]
    assert both == pytest.approx((math.log(7) - math.log(0.4)) / 2)


def test_loss_stays_exact_for_logits_far_apart():
    assert score(np.array([[1e4, 0, 0, 0, 0, 0, 0]], dtype=np.float32), np.array([HAPPY]), ALL)["loss"] == pytest.approx(1e4)


def test_scores_are_of_the_whole_set_and_not_means_over_batches():
    halves = [scores_of(LABELS[:4], PREDICTED[:4]), scores_of(LABELS[4:], PREDICTED[4:])]
    whole = scores_of(LABELS, PREDICTED)
    for name in ("uar", "accuracy", "f1_macro", "f1_weighted"):
        assert whole[name] != pytest.approx((halves[0][name] + halves[1][name]) / 2)


clips = st.lists(st.tuples(st.sampled_from(ALL), st.lists(st.integers(-4, 4), min_size=7, max_size=7)), min_size=1, max_size=30)


@given(clips, st.sets(st.sampled_from(ALL)), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_scores_do_not_depend_on_the_order_of_clips(clips, trained, random):
    shuffled = random.sample(clips, len(clips))
    one, other = (score(np.array([row for _, row in side]), np.array([label for label, _ in side]), trained) for side in (clips, shuffled))
    assert one == pytest.approx(other, rel=1e-12)


@given(clips)
@settings(max_examples=60, deadline=None)
def test_the_table_of_metrics_gives_the_plain_formulas_to_the_last_bit(clips):
    """Runs recorded before the scores became functions of sums keep their numbers."""
    labels, logits = np.array([label for label, _ in clips]), np.array([row for _, row in clips], dtype=np.float64)
    scores = score(logits, labels, set())
    counts = confusion_matrix(labels, logits.argmax(axis=1), labels=ALL)[np.unique(labels)]
    supports, right = counts.sum(axis=1), counts[np.arange(len(counts)), np.unique(labels)]
    predicted = np.bincount(logits.argmax(axis=1), minlength=len(EMOTIONS))[np.unique(labels)]
    f1s = 2 * right / (supports + predicted)
    assert scores["uar"] == np.mean(right / supports)
    assert scores["accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert scores["f1_macro"] == np.mean(f1s)
    assert scores["f1_weighted"] == np.average(f1s, weights=supports)
    assert scores["loss"] == np.mean(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])


def test_a_lower_loss_is_better_and_a_higher_anything_else():
    assert {"loss", "js_divergence", "cross_entropy"} == LOWER_IS_BETTER
    assert is_better("loss", 0.1, 0.2)
    assert not is_better("loss", 0.2, 0.1)
    assert is_better("uar", 0.2, 0.1)
    assert not is_better("uar", 0.1, 0.2)


@pytest.mark.parametrize("name", SELECTABLE)
def test_a_tie_is_not_better(name):
    assert not is_better(name, 0.1, 0.1)


def test_scores_agree_with_scikit_learn_on_random_predictions() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        labels = random.choice(random.choice(7, size=random.integers(1, 7), replace=False), size=40)
        logits = random.normal(size=(40, 7))
        predicted, present = logits.argmax(axis=1), np.unique(labels)
        scores = score(logits, labels, set())
        assert scores["uar"] == pytest.approx(recall_score(labels, predicted, labels=present, average="macro", zero_division=0))
        assert scores["f1_macro"] == pytest.approx(f1_score(labels, predicted, labels=present, average="macro", zero_division=0))
        assert scores["f1_weighted"] == pytest.approx(f1_score(labels, predicted, labels=present, average="weighted", zero_division=0))


# Other classes than the seven

FOUR = ("neutral", "happy", "sad", "surprise")


@given(clips, st.sets(st.sampled_from(range(4))))
@settings(max_examples=60, deadline=None)
def test_scores_over_four_classes_are_those_of_scikit_learn(clips, trained):
    labels, logits = np.array([label % 4 for label, _ in clips]), np.array([row[:4] for _, row in clips], dtype=np.float64)
    scores = score(logits, labels, trained, FOUR)
    present = np.unique(labels)
    assert scores["uar"] == pytest.approx(recall_score(labels, logits.argmax(axis=1), labels=present, average="macro"))
    assert scores["f1_macro"] == pytest.approx(f1_score(labels, logits.argmax(axis=1), labels=present, average="macro"))
    assert scores["loss"] == pytest.approx(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
    assert {name.removeprefix("recall/") for name in scores if name.startswith("recall/")} == {FOUR[label] for label in present}
    shared = np.intersect1d(labels, list(trained)).astype(int)
    if len(shared):
        kept = np.isin(labels, shared)
        answers = shared[logits[kept][:, shared].argmax(axis=1)]
        assert scores["uar_shared"] == pytest.approx(recall_score(labels[kept], answers, labels=shared, average="macro"))
        assert scores["chance"] == 1 / len(shared)


def test_an_emotion_that_is_never_answered_and_never_tested_changes_no_score_when_its_class_goes():
    whole, labels = logits_for([NEUTRAL, HAPPY, SAD, SAD], second=HAPPY), np.array([NEUTRAL, HAPPY, SAD, HAPPY])
    whole[:, [ANGRY, FEAR, DISGUST, SURPRISE]] = -np.inf
    fewer = score(whole[:, :3], labels, {NEUTRAL, HAPPY}, EMOTIONS[:3])
    assert fewer == pytest.approx(score(whole, labels, {NEUTRAL, HAPPY}))
