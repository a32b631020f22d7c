"""`make raw`: the link to real recordings, and what it refuses."""

import os
from pathlib import Path

import pytest

from pipelines.raw import link_raw
from ser_mlops.errors import DataError
from tests.data.corpora.builders import OWN_CORPUS, lay_out


def test_the_folder_is_linked_and_an_existing_link_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_out(tmp_path / "first", "CREMA/1001_IEO_ANG_HI.wav")
    lay_out(tmp_path / "second", "TESS/OAF_back_angry.wav", "notes/readme.txt")
    for folder in ("first", "second"):
        link_raw(tmp_path / folder, tmp_path / "raw")
        assert (tmp_path / "raw").resolve() == tmp_path / folder
    assert "corpora: [TESS]" in capsys.readouterr().out


def test_own_corpora_are_found_beside_the_seven_and_other_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(OWN_CORPUS)
    lay_out(tmp_path / "both", "SAVEE/DC/sa01.wav", "EMODB/wav/03a01Fa.wav", "URDU/x.wav", ".cache/x")
    link_raw(tmp_path / "both", tmp_path / "raw", str(tmp_path / "own.py"))
    printed = capsys.readouterr().out
    assert "corpora: [EMODB, SAVEE]" in printed
    assert "not corpora by their names: URDU (define corpora of your own in" in printed
    lay_out(tmp_path / "one", "EMODB/wav/03a01Fa.wav")
    link_raw(tmp_path / "one", tmp_path / "raw", str(tmp_path / "own.py"))
    assert "corpora: [EMODB]" in capsys.readouterr().out


def test_a_folder_without_a_corpus_says_where_to_define_one(tmp_path: Path) -> None:
    lay_out(tmp_path / "one", "EMODB/wav/03a01Fa.wav")
    with pytest.raises(
        DataError, match=r"unknown corpus folder 'EMODB', expected one of: CAFE, .*; define corpora of your own in data/own_corpora.py"
    ):
        link_raw(tmp_path / "one", tmp_path / "raw")


@pytest.mark.parametrize(
    ("file", "named", "hint"),
    [
        ("recordings/CREMA/1001_IEO_ANG_HI.wav", "recordings/CREMA", r"It is a corpus itself: FROM=.*/recordings;"),
        ("recordings/audio/CREMA/1001_IEO_ANG_HI.wav", "recordings", r"audio holds CREMA: FROM=.*/recordings/audio;"),
        ("recordings/Crema-D/1001_IEO_ANG_HI.wav", "recordings", r"Rename Crema-D to CREMA, if it is that corpus;"),
    ],
)
def test_a_folder_that_was_probably_meant_otherwise_says_what_to_give(tmp_path: Path, file: str, named: str, hint: str) -> None:
    lay_out(tmp_path, file)
    if named.endswith("CREMA"):
        lay_out(tmp_path / named, "AudioWAV/1001_IEO_DIS_HI.wav")
    with pytest.raises(DataError, match=hint):
        link_raw(tmp_path / named, tmp_path / "raw")


def test_an_archive_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "CREMA.zip").touch()
    with pytest.raises(DataError, match=r"CREMA.zip is a file, expected a folder that holds one folder per corpus: CAFE"):
        link_raw(tmp_path / "CREMA.zip", tmp_path / "raw")


def test_names_that_dvc_cannot_keep_are_refused_with_the_command_that_fixes_them(tmp_path: Path) -> None:
    os.makedirs(os.fsencode(tmp_path / "CAFE") + b"/Col\x8are")
    with open(os.fsencode(tmp_path / "CAFE") + b"/Col\x8are/01-C-1-1.wav", "wb"):
        pass
    with pytest.raises(DataError, match=r"CAFE/Col%8Are/01-C-1-1.wav is not UTF-8, .*`convmv -r -f cp850 -t utf8 --notest "):
        link_raw(tmp_path, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path / "recordings", "CREMA/1001_IEO_ANG_HI.wav")
    (tmp_path / "recordings/CREMA/1002_IEO_ANG_HI.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(DataError, match=r"CREMA/1002_IEO_ANG_HI.wav is a broken link, and DVC stops at those: fix it or remove it"):
        link_raw(tmp_path / "recordings", tmp_path / "raw")


def test_a_corpus_that_is_a_broken_link_is_no_unknown_corpus(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/CREMA").symlink_to(tmp_path / "unmounted/CREMA")
    with pytest.raises(DataError, match=r"recordings/CREMA is a broken link, and DVC stops at those"):
        link_raw(tmp_path / "recordings", tmp_path / "raw")


def test_what_is_not_a_link_is_left_alone(tmp_path: Path) -> None:
    lay_out(tmp_path / "recordings", "CREMA/1001_IEO_ANG_HI.wav")
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="exists and is not a link: move it away first"):
        link_raw(tmp_path / "recordings", tmp_path / "raw")
