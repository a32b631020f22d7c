"""SAVEE's two namings, and base names that repeat in every speaker's folder."""

import pytest

from ser_mlops.data.corpora.savee import SAVEE
from tests.data.corpora.builders import clip_of, lay_out, reason_of, scanned


@pytest.mark.parametrize(
    ("path", "speaker", "code"),
    [
        ("AudioData/DC/sa01.wav", "DC", "sa"),
        ("AudioData/KL/su15.wav", "KL", "su"),
        ("AudioData/JE/a07.wav", "JE", "a"),
        ("jk/n30.wav", "JK", "n"),
        ("ALL/DC_sa01.wav", "DC", "sa"),
        ("ALL/KL_d01.wav", "KL", "d"),
        ("DC/JE_h02.wav", "JE", "h"),
    ],
)
def test_both_namings_are_read(path, speaker, code):
    clip = clip_of(SAVEE, path)
    assert (clip.speaker, clip.code, clip.gender) == (speaker, code, "male")


def test_sad_and_surprise_are_told_apart():
    assert [SAVEE.emotions[clip_of(SAVEE, f"DC/{name}.wav").code] for name in ("sa01", "su01")] == ["sad", "surprise"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("AudioData/sa01.wav", "no speaker: neither a prefix nor a folder DC, JE, JK or KL"),
        ("DC/sad1.wav", "unparsable name"),
        ("XX_sa01.wav", "unparsable name"),
    ],
)
def test_names_outside_the_scheme_are_left_out(path, reason):
    assert reason_of(SAVEE, path) == reason


def test_an_unknown_letter_is_named(tmp_path):
    lay_out(tmp_path, "SAVEE/DC/a01.wav", "SAVEE/DC/s01.wav")
    assert scanned(tmp_path, SAVEE)["SAVEE/DC/s01.wav"].reason == "unknown emotion code 's'"


def test_the_same_base_name_in_two_folders_is_two_recordings(tmp_path):
    lay_out(tmp_path, *(f"SAVEE/AudioData/{speaker}/sa01.wav" for speaker in ("DC", "JE", "JK", "KL")))
    found = scanned(tmp_path, SAVEE)
    assert [item.clip.speaker for item in found.values()] == ["DC", "JE", "JK", "KL"]


def test_both_namings_of_one_recording_are_copies():
    assert clip_of(SAVEE, "AudioData/DC/sa01.wav").recording == clip_of(SAVEE, "DC_sa01.wav").recording


def test_each_speaker_is_a_fold():
    assert dict(SAVEE.fold_table) == {"DC": 0, "JE": 1, "JK": 2, "KL": 3}
