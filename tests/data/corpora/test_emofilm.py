"""EMOFILM's names, its legend, and its groups of scenes, dubs and speakers."""

import openpyxl
import pytest

from ser_mlops.data.corpora.base import UNKNOWN
from ser_mlops.data.corpora.catalogue import group_clips
from ser_mlops.data.corpora.emofilm import EMOFILM, LEGEND, read_table, speaker_id
from ser_mlops.errors import DataError
from tests.data.corpora.builders import clip_of, lay_out, reason_of, scanned


def write_legend(path, female=(), male=(), columns=("file", "film", "speaker")):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in (("female", female), ("male", male)):
        sheet = book.create_sheet(name)
        for row in (columns, *rows):
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


@pytest.mark.parametrize(
    ("name", "code", "gender", "language", "scene"),
    [
        ("f_ans001aen.wav", "ans", "female", "en", "f_ans001"),
        ("m_dis012bit.wav", "dis", "male", "it", "m_dis012"),
        ("wav_corpus_16k/f_tri100ces_16k.wav", "tri", "female", "es", "f_tri100"),
    ],
)
def test_names_are_read(name, code, gender, language, scene):
    clip = clip_of(EMOFILM, name)
    assert (clip.code, clip.gender, clip.language, clip.scene, clip.speaker) == (code, gender, language, scene, UNKNOWN)


@pytest.mark.parametrize("name", ["x_ans001aen.wav", "f_ans001afr.wav", "f_ansaen.wav", "f_ans001aen_8k.wav"])
def test_names_outside_the_scheme_are_left_out(name):
    assert reason_of(EMOFILM, name) == "unparsable name"


def test_disprezzo_is_contempt_not_disgust():
    assert EMOFILM.emotions["dis"] == "contempt"


def test_speakers_come_from_both_sheets_of_the_legend(tmp_path):
    write_legend(
        tmp_path / LEGEND,
        female=[("f_ans001aen", "a film", "Julia\xa0Roberts"), ("f_ans002aen.wav", "a film", "??")],
        male=[("m_rab001ait", "a film", "Robert Duval"), (None, None, None)],
    )
    table = read_table(tmp_path)
    names = ("f_ans001aen.wav", "f_ans001aen_16k.wav", "f_ans002aen.wav", "m_rab001ait.wav", "m_rab009ait.wav")
    speakers = [clip_of(EMOFILM, name, table).speaker for name in names]
    assert speakers == ["julia roberts", "julia roberts", UNKNOWN, "robert duvall", UNKNOWN]


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("Camilo García", "camilo garcia"),
        ("  Xavier   Fernandez ", "xavier fernandez"),
        ("Constantino Romero+6", "constantino romero"),
        ("Giuppi Izzo", "giuppy izzo"),
        ("?", UNKNOWN),
        ("-", UNKNOWN),
        ("Unknown male", UNKNOWN),
        ("Unknown female", UNKNOWN),
        ("UNKNOWN  Male 2", UNKNOWN),
        ("unknown (girl)", UNKNOWN),
        ("Unkown", UNKNOWN),
        ("N.A.", UNKNOWN),
        ("Sconosciuto", UNKNOWN),
        ("desconocida", UNKNOWN),
        ("Noah Unknowles", "noah unknowles"),
        ("Anna", "anna"),
        ("", UNKNOWN),
    ],
)
def test_one_speaker_has_one_spelling(name, speaker):
    assert speaker_id(name) == speaker


def test_a_legend_of_other_columns_is_refused(tmp_path):
    write_legend(tmp_path / LEGEND, columns=("clip", "film", "actor"))
    with pytest.raises(DataError, match=r"sheet 'female' has the columns clip, film, actor, expected file and speaker"):
        read_table(tmp_path)


def test_a_legend_that_is_no_workbook_is_refused(tmp_path):
    lay_out(tmp_path, LEGEND, content=b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match="is not a readable xlsx file"):
        read_table(tmp_path)


def test_dubs_of_a_scene_and_the_other_scenes_of_their_speakers_are_one_group():
    table = {"f_ans001aen": {"speaker": "ann"}, "f_ans001ait": {"speaker": "bice"}, "f_gio007bit": {"speaker": "bice"}}
    names = ("f_ans001aen.wav", "f_ans001ait.wav", "f_gio007bit.wav", "f_gio007aes.wav", "f_gio008aes.wav")
    groups = group_clips([clip_of(EMOFILM, name, table) for name in names])
    assert groups == ["f_ans001"] * 4 + ["f_gio008"]


def test_clips_of_nobody_in_particular_share_no_group_but_their_scene(tmp_path):
    legend = [(f"m_rab{number:03}aen", "a film", "Unknown male") for number in range(3)] + [("m_rab000ait", "a film", "Unknown male")]
    write_legend(tmp_path / LEGEND, male=legend)
    clips = [clip_of(EMOFILM, f"{name}.wav", read_table(tmp_path)) for name, _, _ in legend]
    assert {clip.speaker for clip in clips} == {UNKNOWN}
    assert group_clips(clips) == ["m_rab000", "m_rab001", "m_rab002", "m_rab000"]


def test_two_dubs_of_a_scene_are_two_recordings_in_one_group():
    clips = [clip_of(EMOFILM, name) for name in ("f_gio133aes.wav", "f_gio133ait.wav")]
    assert [clip.language for clip in clips] == ["es", "it"]
    assert len({clip.recording for clip in clips}) == 2
    assert len(set(group_clips(clips))) == 1


def test_without_the_legend_the_scene_is_the_group():
    groups = group_clips([clip_of(EMOFILM, name) for name in ("f_ans001aen.wav", "f_ans001bit.wav", "m_ans001aen.wav")])
    assert groups == ["f_ans001", "f_ans001", "m_ans001"]


def test_a_16_khz_copy_beside_its_original_is_left_out(tmp_path):
    lay_out(tmp_path, "EMOFILM/wav_corpus/f_ans001aen.wav", content=b"44.1 kHz, larger")
    lay_out(tmp_path, "EMOFILM/wav_corpus_16k/f_ans001aen_16k.wav", content=b"16 kHz")
    found = scanned(tmp_path, EMOFILM)
    assert found["EMOFILM/wav_corpus_16k/f_ans001aen_16k.wav"].reason == "copy of EMOFILM/wav_corpus/f_ans001aen.wav"
