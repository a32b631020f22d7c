"""A space of emotions: which classes it has, how it is written, and what makes none."""

import pytest

from ser_mlops.emotions import EMOTIONS, OUTSIDE, SEVEN, Space
from ser_mlops.errors import SettingsError

FOUR = ("neutral", "happy", "sad", "angry")


def test_classes_keep_the_fixed_order_however_they_are_given() -> None:
    assert Space.of(["angry", "neutral", "sad", "happy"], {}) == Space.of(FOUR, {})
    assert Space.of(FOUR, {}).classes == FOUR
    assert Space.of(EMOTIONS, {}) == SEVEN


def test_a_merged_emotion_has_the_class_that_it_joins_and_one_left_out_has_none() -> None:
    space = Space.of(["neutral", "sad", "fear", "surprise"], {"fear": "surprise"})
    assert space.classes == ("neutral", "sad", "surprise")
    numbers = dict(zip(EMOTIONS, space.class_of, strict=True))
    assert numbers["fear"] == numbers["surprise"] == 2
    assert [emotion for emotion, number in numbers.items() if number == OUTSIDE] == list(space.left_out) == ["happy", "angry", "disgust"]


@pytest.mark.parametrize("merge", [{}, {"sad": "neutral"}, {"angry": "neutral", "sad": "neutral"}, {"neutral": "angry"}])
def test_a_space_is_read_as_it_is_written(merge: dict[str, str]) -> None:
    space = Space.of(FOUR, merge)
    assert Space.parse(str(space)) == space


@pytest.mark.parametrize(
    ("emotions", "merge", "message"),
    [
        (["happy", "calm"], {}, r"emotions=happy,calm: unknown emotion 'calm', expected one of: neutral, happy, sad"),
        (["happy", "sad", "happy"], {}, "emotions=happy,sad,happy names happy twice"),
        (["happy"], {}, r"emotions=happy: only happy is left to tell apart, expected two classes or more of: neutral"),
        ([], {}, "no emotion is left"),
        (["happy", "sad"], {"sad": "happy"}, "only happy is left"),
        (
            ["happy", "sad", "angry"],
            {"fear": "sad"},
            r"merge=fear=sad: unknown emotion 'fear', expected one of: happy, sad, angry",
        ),
        (["happy", "sad", "angry"], {"sad": "fear"}, "merge=sad=fear: unknown emotion 'fear'"),
        (FOUR, {"sad": "angry", "angry": "happy"}, "merge=sad=angry: angry itself joins happy, expected an emotion that joins none"),
        (FOUR, {"sad": "sad"}, "merge=sad=sad: sad itself joins sad"),
    ],
)
def test_what_makes_no_space_is_refused_with_what_would_be_accepted(emotions: list[str], merge: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Space.of(emotions, merge)
