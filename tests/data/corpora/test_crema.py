"""CREMA's names, and the two tables that may stand beside the audio."""

import pytest

from ser_mlops.data.corpora.base import TIE
from ser_mlops.data.corpora.crema import CREMA, read_table
from ser_mlops.errors import DataError
from tests.data.corpora.builders import clip_of, lay_out, reason_of, recordings, scanned

DEMOGRAPHICS = b'"ActorID","Age","Sex","Race","Ethnicity"\r\n1001,51,"Male","A","B"\r\n1002,21,"Female","A","B"\r\n'
SUMMARY = (
    b'"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
    b'"1","1001_IEO_NEU_XX","N",73,"N",74,"N",72\n"2","1001_IEO_ANG_HI","A:D","60:61","A",70,"A",71\n"3","1002_DFA_FEA_XX","S",60,"F",61,"F",62\n'
)


@pytest.mark.parametrize(
    ("name", "code", "speaker", "text"),
    [
        ("AudioWAV/1001_IEO_ANG_HI.wav", "ANG", "1001", "IEO"),
        ("1091_WSI_NEU_XX.wav", "NEU", "1091", "WSI"),
        ("1040_ITH_SAD_X.wav", "SAD", "1040", "ITH"),
        ("1076_MTI_SAD_XX.wav", "SAD", "1076", "MTI"),
        ("1002_tie_dis_md.WAV", "DIS", "1002", "TIE"),
    ],
)
def test_names_are_read(name, code, speaker, text):
    clip = clip_of(CREMA, name)
    assert (clip.code, clip.speaker, clip.text, clip.gender) == (code, speaker, text, "unknown")


@pytest.mark.parametrize("name", ["1092_IEO_ANG_HI.wav", "1000_IEO_ANG_HI.wav", "1001_IEO_ANG.wav", "1001_IEO_ANG_HI (1).wav", "noise.wav"])
def test_names_outside_the_scheme_are_left_out(name):
    assert reason_of(CREMA, name) == "unparsable name"


def test_the_misspelt_level_is_the_same_recording():
    assert clip_of(CREMA, "1040_ITH_SAD_X.wav").recording == clip_of(CREMA, "1040_ITH_SAD_XX.wav").recording


def test_an_unknown_emotion_code_is_left_out(tmp_path):
    lay_out(tmp_path, "CREMA/1001_IEO_ANG_HI.wav", "CREMA/1001_IEO_JOY_HI.wav")
    assert scanned(tmp_path, CREMA)["CREMA/1001_IEO_JOY_HI.wav"].reason == "unknown emotion code 'JOY'"


def test_gender_comes_from_the_demographics_where_they_are(tmp_path):
    lay_out(tmp_path, "VideoDemographics.csv", content=DEMOGRAPHICS)
    table = read_table(tmp_path)
    assert [clip_of(CREMA, f"{actor}_IEO_ANG_HI.wav", table).gender for actor in (1001, 1002, 1003)] == ["male", "female", "unknown"]


def test_what_listeners_heard_comes_from_the_summary(tmp_path):
    lay_out(tmp_path, "processedResults/summaryTable.csv", content=SUMMARY)
    table = read_table(tmp_path)
    names = ("1001_IEO_NEU_XX", "1001_IEO_ANG_HI", "1002_DFA_FEA_XX", "1003_DFA_FEA_XX")
    assert [clip_of(CREMA, f"{name}.wav", table).perceived for name in names] == ["NEU", "ANG:DIS", "SAD", ""]


VOTES = b"""
"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.9,"N"
"100002",4,0,0,0,4,1,"1001_IEO_ANG_HI",9,0.4,"A:N"
"200001",9,0,0,0,0,0,"1001_IEO_NEU_XX",9,1,"A"
""".lstrip()


@pytest.mark.parametrize("names", [b'""', b'"Unnamed: 0"'])
def test_votes_are_those_of_listeners_to_the_voice_alone(tmp_path, names):
    lay_out(tmp_path, "processedResults/tabulatedVotes.csv", content=VOTES.replace(b'""', names))
    table = read_table(tmp_path)
    neutral, tied, unheard = (clip_of(CREMA, f"{name}.wav", table) for name in ("1001_IEO_NEU_XX", "1001_IEO_ANG_HI", "1001_IEO_SAD_LO"))
    assert (neutral.perceived, neutral.votes["NEU"], neutral.votes["HAP"], sum(neutral.votes.values())) == ("NEU", 10, 1, 11)
    assert (tied.perceived, tied.votes["ANG"], tied.votes["NEU"]) == (TIE, 4, 4)
    assert (unheard.perceived, unheard.votes) == ("", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (VOTES.replace(b",10,", b",ten,"), r"votes ten, 1, 0, 0, 0, 0 of '1001_IEO_NEU_XX', expected whole numbers"),
        (VOTES.replace(b'"",', b'"row",'), r"has no row names \(100001, 100002, …\)"),
        (VOTES.replace(b'"H"', b'"J"'), r"has no column 'H', expected the columns: fileName, N, H, S, A, F, D"),
    ],
)
def test_votes_that_cannot_be_read_are_refused(tmp_path, content, message):
    lay_out(tmp_path, "tabulatedVotes.csv", content=content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path)


def test_a_summary_of_other_columns_is_refused(tmp_path):
    lay_out(tmp_path, "summaryTable.csv", content=b"name,vote\n1001_IEO_NEU_XX,N\n")
    with pytest.raises(DataError, match=r"summaryTable.csv has no column 'FileName', expected the columns: FileName, VoiceVote"):
        read_table(tmp_path)


def test_the_mp3_copies_of_a_full_clone_are_left_out_as_copies(tmp_path):
    lay_out(tmp_path, "CREMA/AudioMP3/1001_IEO_ANG_HI.mp3", content=b"small")
    lay_out(tmp_path, "CREMA/AudioWAV/1001_IEO_ANG_HI.wav", content=b"larger sound")
    found = scanned(tmp_path, CREMA)
    assert found["CREMA/AudioWAV/1001_IEO_ANG_HI.wav"].reason == ""
    assert found["CREMA/AudioMP3/1001_IEO_ANG_HI.mp3"].reason == "copy of CREMA/AudioWAV/1001_IEO_ANG_HI.wav"


def test_a_git_lfs_pointer_never_displaces_a_recording(tmp_path):
    lay_out(tmp_path, "CREMA/a/1001_IEO_ANG_HI.wav", content=b"version https://git-lfs.github.com/spec/v1")
    lay_out(tmp_path, "CREMA/b/1001_IEO_ANG_HI.wav", content=b"sound" * 100)
    assert scanned(tmp_path, CREMA)["CREMA/b/1001_IEO_ANG_HI.wav"].reason == ""


def test_real_names_are_read():
    found = scanned(recordings("CREMA"), CREMA)
    assert len(found) == 75
    assert {item.clip.speaker for item in found.values()} == {"1001", "1006", "1013", "1047", "1076", "1089", "1091"}
