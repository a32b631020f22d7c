"""RAVDESS's names, and the copies that repeat the same voices."""

import pytest

from ser_mlops.data.corpora.ravdess import RAVDESS
from tests.data.corpora.builders import clip_of, lay_out, reason_of, recordings, scanned


@pytest.mark.parametrize(
    ("name", "code", "speaker", "gender", "text"),
    [
        ("Actor_07/03-01-06-01-02-01-07.wav", "06", "07", "male", "02"),
        ("03-01-02-02-01-01-24.wav", "02", "24", "female", "01"),
        ("Actor_20/03-01-08-02-02-01-20.WAV", "08", "20", "female", "02"),
    ],
)
def test_names_are_read(name, code, speaker, gender, text):
    clip = clip_of(RAVDESS, name)
    assert (clip.code, clip.speaker, clip.gender, clip.text) == (code, speaker, gender, text)


def test_odd_actors_are_male_and_even_ones_female():
    genders = [clip_of(RAVDESS, f"03-01-01-01-01-01-{actor:02}.wav").gender for actor in range(1, 25)]
    assert genders == ["male", "female"] * 12


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Actor_07/03-02-06-01-02-01-07.wav", "song"),
        ("Actor_07/01-01-06-01-02-01-07.wav", "audio-visual copy"),
        ("Actor_07/02-01-06-01-02-01-07.wav", "audio-visual copy"),
        ("03-01-06-01-02-01-25.wav", "unparsable name"),
        ("03-01-06-01-02-01.wav", "unparsable name"),
        ("03-01-06-01-02-01-07 (1).wav", "unparsable name"),
    ],
)
def test_everything_but_audio_only_speech_is_left_out(name, reason):
    assert reason_of(RAVDESS, name) == reason


def test_an_emotion_code_outside_the_scheme_is_named(tmp_path):
    lay_out(tmp_path, "RAVDESS/03-01-01-01-01-01-01.wav", "RAVDESS/03-01-09-01-01-01-01.wav")
    assert scanned(tmp_path, RAVDESS)["RAVDESS/03-01-09-01-01-01-01.wav"].reason == "unknown emotion code '09'"


def test_folds_hold_four_actors_each_balanced_by_gender():
    for fold in range(6):
        actors = [int(actor) for actor, place in RAVDESS.fold_table.items() if place == fold]
        assert len(actors) == 4
        assert sum(actor % 2 for actor in actors) == 2


def test_the_doubled_tree_of_the_kaggle_zip_counts_once(tmp_path):
    names = [f"Actor_01/03-01-{code:02}-01-01-01-01.wav" for code in range(1, 9)]
    lay_out(tmp_path, *(f"RAVDESS/{tree}{name}" for name in names for tree in ("", "audio_speech_actors_01-24/")))
    found = scanned(tmp_path, RAVDESS)
    assert len(found) == 16
    assert sum(item.clip is not None for item in found.values()) == 8
    assert found[f"RAVDESS/audio_speech_actors_01-24/{names[0]}"].reason == f"copy of RAVDESS/{names[0]}"


def test_real_names_are_read():
    found = scanned(recordings("RAVDESS"), RAVDESS)
    assert len(found) == 28
    assert {item.clip.speaker for item in found.values()} == {"01", "07", "20"}
