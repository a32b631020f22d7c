"""MSP_PODCAST's label rows, partitions and speakers."""

import pytest

from ser_mlops.data.corpora.base import TIE, UNKNOWN
from ser_mlops.data.corpora.catalogue import group_clips
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST, read_table
from ser_mlops.errors import DataError
from tests.data.corpora.builders import clip_of, lay_out, reason_of, scanned

COLUMNS = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"


def labels(*rows: str) -> bytes:
    return "\n".join((COLUMNS, *rows, "")).encode()


def row(code="N", speaker="97", gender="Male", split="Train") -> dict[str, dict[str, str]]:
    return {"MSP-PODCAST_0001_0008": {"EmoClass": code, "SpkrID": speaker, "Gender": gender, "Split_Set": split}}


NAME = "Audios/MSP-PODCAST_0001_0008.wav"


@pytest.mark.parametrize(
    ("split", "part"),
    [("Train", "train"), ("Development", "validation"), ("Validation", "validation"), ("Test1", "test1"), ("Test2", "test2")],
)
def test_official_partitions_are_kept(split, part):
    assert clip_of(MSP_PODCAST, NAME, row(split=split)).part == part


@pytest.mark.parametrize("split", ["Test3", "NA", ""])
def test_rows_without_a_partition_are_left_out(split):
    assert reason_of(MSP_PODCAST, NAME, row(split=split)) == f"no official partition: Split_Set is {split!r}"


def test_unknown_speaker_and_gender_stay_unknown():
    clip = clip_of(MSP_PODCAST, NAME, row(speaker="Unknown", gender="Unknown"))
    assert (clip.speaker, clip.gender) == (UNKNOWN, UNKNOWN)


def test_clips_of_unknown_speakers_are_groups_of_their_own():
    clips = [clip_of(MSP_PODCAST, name, {name[:-4]: row(speaker="Unknown")["MSP-PODCAST_0001_0008"]}) for name in ("a.wav", "b.wav")]
    assert group_clips(clips) == ["a", "b"]


def test_a_speaker_on_two_sides_of_the_official_division_is_a_group_on_each():
    rows = {
        name: {"EmoClass": "N", "SpkrID": speaker, "Gender": "Male", "Split_Set": split}
        for name, speaker, split in (("a", "97", "Train"), ("b", "97", "Test2"), ("c", "98", "Train"))
    }
    assert group_clips([clip_of(MSP_PODCAST, f"{name}.wav", rows) for name in rows]) == ["97@train", "97@test2", "98"]


@pytest.mark.parametrize("name", ["labels_consensus.csv", "labels_concensus.csv"])
def test_both_spellings_of_the_label_file_are_read(tmp_path, name):
    lay_out(tmp_path, f"Labels/{name}", content=labels("MSP-PODCAST_0001_0008.wav,N,4,4,4,97,Male,Train"))
    assert read_table(tmp_path)["MSP-PODCAST_0001_0008"]["SpkrID"] == "97"


def test_na_is_text_and_not_a_missing_value(tmp_path):
    lay_out(tmp_path, "Labels/labels_consensus.csv", content=labels("WHiSER_0001.wav,N,4,4,4,NA,NA,NA"))
    assert read_table(tmp_path)["WHiSER_0001"]["Split_Set"] == "NA"


def test_a_missing_label_file_is_an_error_that_names_it(tmp_path):
    lay_out(tmp_path, f"MSP_PODCAST/{NAME}")
    with pytest.raises(DataError, match=r"no label file in .*MSP_PODCAST, expected Labels/labels_consensus.csv"):
        scanned(tmp_path, MSP_PODCAST)


def test_a_missing_column_is_an_error_that_names_it(tmp_path):
    lay_out(tmp_path, "labels_consensus.csv", content=b"FileName,EmoClass\na.wav,N\n")
    with pytest.raises(DataError, match="has no column 'SpkrID', expected the columns: FileName, EmoClass"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"FileName;EmoClass;SpkrID\na.wav;N;1\n", r"\(its cells are separated by ';', not by commas\)"),
        (b"FileName\tEmoClass\na.wav\tN\n", r"\(its cells are separated by '\\t', not by commas\)"),
        (b"filename,emoclass\na.wav,N\n", r"\(it has filename, emoclass\)"),
        ("FileName,EmoClass\n".encode("utf-16"), r"is not a csv file in UTF-8 \(invalid start byte at 0\): save it again in that encoding"),
        ("FileName,EmoClass\nJosé.wav,N\n".encode("latin-1"), r"is not a csv file in UTF-8 \(.* at 21\)"),
    ],
)
def test_a_label_file_in_another_form_says_what_is_other_about_it(tmp_path, content, told):
    lay_out(tmp_path, "labels_consensus.csv", content=content)
    with pytest.raises(DataError, match=told):
        read_table(tmp_path)


def test_audio_without_a_row_and_a_row_without_audio_are_both_left_out(tmp_path):
    lay_out(tmp_path, f"MSP_PODCAST/{NAME}", "MSP_PODCAST/Audios/MSP-PODCAST_0002_0001.wav")
    lay_out(
        tmp_path,
        "MSP_PODCAST/Labels/labels_consensus.csv",
        content=labels("MSP-PODCAST_0001_0008.wav,N,4,4,4,97,Male,Train", "MSP-PODCAST_0009_0009.wav,H,4,4,4,98,Female,Test1"),
    )
    reasons = {path: item.reason for path, item in scanned(tmp_path, MSP_PODCAST).items()}
    assert reasons == {
        f"MSP_PODCAST/{NAME}": "",
        "MSP_PODCAST/Audios/MSP-PODCAST_0002_0001.wav": "audio without label row",
        "MSP_PODCAST/MSP-PODCAST_0009_0009": "label row without audio",
    }


CONSENSUS = labels("MSP-PODCAST_0001_0008.wav,N,4,4,4,97,Male,Train", "MSP-PODCAST_0001_0009.wav,X,4,4,4,97,Male,Train")
VOTES = {
    "labels_detailed.csv": """FileName,WorkerID,EmoClass_Major,EmoClass_Second
MSP-PODCAST_0001_0008.wav,WORKER1,Neutral,"Neutral,Concerned"
MSP-PODCAST_0001_0008.wav,WORKER2,Happy,Happy
MSP-PODCAST_0001_0008.wav,WORKER3,Neutral,Neutral
MSP-PODCAST_0001_0009.wav,WORKER1,Anger,Anger
MSP-PODCAST_0001_0009.wav,WORKER2,Other-annoyed,Annoyed
MSP-PODCAST_0009_0001.wav,WORKER2,Sad,Sad
""",
    "labels_detailed.json": """{
"MSP-PODCAST_0001_0008.wav": {"WORKER1": {"EmoClass_Major": "Neutral"}, "WORKER2": {"EmoClass_Major": "Happy"},
 "WORKER3": {"EmoClass_Major": "Neutral"}},
"MSP-PODCAST_0001_0009.wav": {"Workers": [{"Name": "WORKER1", "EmoClass_Major": "Angry"}, {"Name": "W2", "EmoClass_Major": "Other-x"}]}}
""",
    "labels_detailed.txt": """MSP-PODCAST_0001_0008.wav; N; A:4.0; V:4.0; D:4.0;
WORKER1; Neutral; Neutral,Concerned; A:4.0; V:4.0; D:4.0;
WORKER2; Happy; Happy; A:4.0; V:4.0; D:4.0;
WORKER3; Neutral; Neutral; A:4.0; V:4.0; D:4.0;

MSP-PODCAST_0001_0009.wav; X; A:4.0; V:4.0; D:4.0;
WORKER1; Angry; Angry; A:4.0; V:4.0; D:4.0;
WORKER2; Other-annoyed; Annoyed; A:4.0; V:4.0; D:4.0;
""",
}


@pytest.mark.parametrize("file", VOTES)
def test_every_form_of_the_annotations_gives_the_same_votes(tmp_path, file):
    lay_out(tmp_path, "Labels/labels_consensus.csv", content=CONSENSUS)
    lay_out(tmp_path, f"Labels/{file}", content=VOTES[file].encode())
    table = read_table(tmp_path)
    neutral, torn = (clip_of(MSP_PODCAST, f"Audios/MSP-PODCAST_0001_000{number}.wav", table) for number in (8, 9))
    assert (neutral.votes, neutral.perceived) == ({"N": 2, "H": 1}, "N")
    assert (torn.votes, torn.perceived) == ({"A": 1, "O": 1}, TIE)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels_detailed.csv", b"FileName,EmoAct\nx.wav,4\n", "has no column 'EmoClass_Major'"),
        ("labels_detailed.json", b"{", "is not readable JSON"),
        ("labels_detailed.json", b"[]", "holds no files by name"),
        ("labels_detailed.txt", b"WORKER1; Happy\n", "has no annotation with EmoClass_Major"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused(tmp_path, file, content, message):
    lay_out(tmp_path, "Labels/labels_consensus.csv", content=CONSENSUS)
    lay_out(tmp_path, f"Labels/{file}", content=content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path)
