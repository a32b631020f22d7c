"""TESS's names, whatever its folders are called."""

import pytest

from ser_mlops.data.corpora.tess import TESS
from tests.data.corpora.builders import clip_of, lay_out, reason_of, recordings, scanned


@pytest.mark.parametrize(
    ("path", "speaker", "text", "emotion"),
    [
        ("OAF_angry/OAF_back_angry.wav", "OAF", "back", "angry"),
        ("OAF_Pleasant_surprise/OAF_back_ps.wav", "OAF", "back", "surprise"),
        ("YAF_pleasant_surprised/YAF_neat_ps.wav", "YAF", "neat", "surprise"),
        ("OAF_neutral/OA_bite_neutral.wav", "OAF", "bite", "neutral"),
        ("OAF_Fear/OAF_food_fear.wav", "OAF", "food", "fear"),
        ("YAF_germ_angry.wav", "YAF", "germ", "angry"),
    ],
)
def test_names_are_read_and_folders_are_not(path, speaker, text, emotion):
    clip = clip_of(TESS, path)
    assert (clip.speaker, clip.text, TESS.emotions[clip.code], clip.gender) == (speaker, text, emotion, "female")


@pytest.mark.parametrize("name", ["back_angry.wav", "XAF_back_angry.wav", "OAF_angry.wav", "OAF_back_angry_1.wav"])
def test_names_outside_the_scheme_are_left_out(name):
    assert reason_of(TESS, name) == "unparsable name"


def test_each_actress_is_a_fold():
    assert dict(TESS.fold_table) == {"OAF": 0, "YAF": 1}


def test_a_doubled_tree_counts_once(tmp_path):
    tree = "TESS Toronto emotional speech set data"
    lay_out(tmp_path, f"TESS/{tree}/OAF_angry/OAF_back_angry.wav", f"TESS/{tree}/{tree}/OAF_angry/OAF_back_angry.wav")
    assert sum(item.clip is not None for item in scanned(tmp_path, TESS).values()) == 1


def test_real_names_are_read():
    found = scanned(recordings("TESS"), TESS)
    assert len(found) == 84
    assert all(item.clip is not None for item in found.values())
    assert found["TESS/OAF_neutral/OA_bite_neutral.wav"].clip.speaker == "OAF"
