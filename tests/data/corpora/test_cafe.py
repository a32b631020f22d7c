"""CAFE's names, with and without an intensity field."""

import os

import pytest

from ser_mlops.data.corpora.cafe import CAFE
from tests.data.corpora.builders import clip_of, lay_out, reason_of, scanned


@pytest.mark.parametrize(
    ("name", "code", "speaker", "gender", "text"),
    [
        ("01-C-1-1.wav", "C", "01", "male", "1"),
        ("12-S-2-6.aiff", "S", "12", "female", "6"),
        ("03-N-1.wav", "N", "03", "male", "1"),
        ("03-N-1-4.wav", "N", "03", "male", "4"),
        ("Colère/Fort/02-c-2-3.WAV", "C", "02", "female", "3"),
    ],
)
def test_names_with_three_and_four_fields_are_read(name, code, speaker, gender, text):
    clip = clip_of(CAFE, name)
    assert (clip.code, clip.speaker, clip.gender, clip.text, clip.language) == (code, speaker, gender, text, "fr")


@pytest.mark.parametrize("name", ["13-C-1-1.wav", "00-C-1-1.wav", "01-C-3-1.wav", "01-C-1-7.wav", "01-C-1.wav", "C-1-1.wav", "01_C_1_1"])
def test_names_outside_the_scheme_are_left_out(name):
    assert reason_of(CAFE, name).startswith("unparsable name")


def test_both_spellings_of_a_neutral_sentence_are_one_recording():
    assert clip_of(CAFE, "03-N-2.wav").recording == clip_of(CAFE, "03-N-1-2.wav").recording


def test_odd_actors_are_male():
    assert [clip_of(CAFE, f"{actor:02}-J-1-1.wav").gender for actor in range(1, 13)] == ["male", "female"] * 6


def test_folds_hold_four_actors_each_balanced_by_gender():
    for fold in range(3):
        actors = [int(actor) for actor, place in CAFE.fold_table.items() if place == fold]
        assert len(actors) == 4
        assert sum(actor % 2 for actor in actors) == 2


def test_a_folder_with_broken_accents_is_read(tmp_path):
    folder = os.fsencode(tmp_path) + b"/CAFE/Col\x8are"
    os.makedirs(folder)
    with open(folder + b"/01-C-1-1.wav", "wb") as file:
        file.write(b"sound")
    found = scanned(tmp_path, CAFE)["CAFE/Col%8Are/01-C-1-1.wav"]
    assert found.emotion == "angry"
    assert found.file.read_bytes() == b"sound"


def test_an_aiff_beside_its_wav_is_left_out_as_a_copy(tmp_path):
    lay_out(tmp_path, "CAFE/aiff/01-C-1-1.aiff", content=b"192 kHz, larger")
    lay_out(tmp_path, "CAFE/wav/01-C-1-1.wav", content=b"48 kHz")
    reasons = {path: item.reason for path, item in scanned(tmp_path, CAFE).items()}
    assert reasons == {"CAFE/aiff/01-C-1-1.aiff": "", "CAFE/wav/01-C-1-1.wav": "copy of CAFE/aiff/01-C-1-1.aiff"}
