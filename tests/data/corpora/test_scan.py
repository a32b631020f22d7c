"""A corpus's folder is walked in one order, and nothing in it is passed over in silence."""

import os

import pytest

from ser_mlops.data.corpora.ravdess import RAVDESS
from ser_mlops.data.corpora.scan import path_in_tables, scan
from ser_mlops.data.corpora.tess import TESS
from ser_mlops.errors import DataError
from tests.data.corpora.builders import lay_out, scanned


def test_paths_are_relative_and_in_order(tmp_path):
    lay_out(tmp_path, "TESS/b/OAF_back_sad.wav", "TESS/a/YAF_back_sad.wav", "TESS/OAF_back_ps.wav")
    assert list(scanned(tmp_path, TESS)) == ["TESS/OAF_back_ps.wav", "TESS/a/YAF_back_sad.wav", "TESS/b/OAF_back_sad.wav"]


def test_a_missing_folder_is_an_error_that_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*TESS, expected files such as .*TESS/OAF_angry/OAF_back_angry.wav"):
        scan(tmp_path, TESS)


def test_an_empty_folder_is_an_error_that_says_what_was_expected(tmp_path):
    (tmp_path / "TESS").mkdir()
    with pytest.raises(DataError, match=r"no clip of TESS in .* \(no audio file\), expected files such as .*OAF_back_angry.wav"):
        scan(tmp_path, TESS)


def test_archives_in_the_place_of_recordings_are_to_be_unpacked(tmp_path):
    lay_out(tmp_path, "TESS/OAF.zip", "TESS/YAF.tar.gz", "TESS/readme.txt")
    with pytest.raises(DataError, match=r"no clip of TESS in .* \(no audio file, but archives to unpack: .zip, .gz\), expected"):
        scan(tmp_path, TESS)


def test_a_folder_of_another_corpus_is_an_error_that_counts_the_reasons(tmp_path):
    lay_out(tmp_path, "TESS/1001_IEO_ANG_HI.wav", "TESS/1002_IEO_ANG_HI.wav", "TESS/._OAF_back_sad.wav")
    with pytest.raises(DataError, match=r"\(2 unparsable name, 1 AppleDouble stub\)"):
        scan(tmp_path, TESS)


def test_appledouble_stubs_are_left_out_by_name(tmp_path):
    lay_out(tmp_path, "TESS/OAF_back_sad.wav", "TESS/__MACOSX/._OAF_back_sad.wav")
    assert scanned(tmp_path, TESS)["TESS/__MACOSX/._OAF_back_sad.wav"].reason == "AppleDouble stub"


def test_other_files_are_counted_by_suffix(tmp_path):
    lay_out(tmp_path, "RAVDESS/03-01-01-01-01-01-01.wav", "RAVDESS/cover.png", "RAVDESS/cover.PNG")
    lay_out(tmp_path, "RAVDESS/.DS_Store", "RAVDESS/readme.txt", "RAVDESS/.git/objects/x.wav")
    assert scan(tmp_path, RAVDESS).other_files == {".DS_Store": 1, ".git": 1, ".png": 2, ".txt": 1}


@pytest.mark.parametrize("suffix", ["wav", "WAV", "aiff", "AIF", "flac", "ogg", "mp3", "wave", "opus", "au", "m4a", "webm", "mp4"])
def test_every_audio_suffix_is_found(tmp_path, suffix):
    lay_out(tmp_path, f"TESS/OAF_back_sad.{suffix}")
    assert scanned(tmp_path, TESS)[f"TESS/OAF_back_sad.{suffix}"].emotion == "sad"


def test_linked_folders_are_read_once(tmp_path):
    lay_out(tmp_path, "elsewhere/OAF_back_sad.wav")
    (tmp_path / "TESS").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "TESS" / "linked")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "round")
    assert list(scanned(tmp_path, TESS)) == ["TESS/linked/OAF_back_sad.wav"]


def test_a_link_to_nothing_is_found_and_left_to_the_decoder(tmp_path):
    lay_out(tmp_path, "TESS/OAF_back_sad.wav")
    os.symlink(tmp_path / "nothing", tmp_path / "TESS" / "OAF_back_angry.wav")
    assert scanned(tmp_path, TESS)["TESS/OAF_back_angry.wav"].reason == ""


def test_a_backslash_in_a_name_is_written_so_that_tables_accept_it():
    assert path_in_tables("SAVEE/DC\\a01.wav") == "SAVEE/DC%5Ca01.wav"


def test_a_video_never_displaces_the_sound_of_the_same_recording(tmp_path):
    lay_out(tmp_path, "TESS/OAF_back_sad.mp4", content=b"much larger than the sound")
    lay_out(tmp_path, "TESS/OAF_back_sad.wav")
    assert scanned(tmp_path, TESS)["TESS/OAF_back_sad.mp4"].reason == "copy of TESS/OAF_back_sad.wav"
