"""The label rules act in the catalogue, and what they did is written down."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_mlops.data.corpora.base import UNKNOWN, Clip
from ser_mlops.data.corpora.catalogue import COLUMNS, catalogue, group_clips
from ser_mlops.data.corpora.crema import CREMA
from ser_mlops.data.corpora.emofilm import EMOFILM
from ser_mlops.data.corpora.ravdess import RAVDESS
from ser_mlops.data.corpora.scan import scan
from ser_mlops.errors import DataError
from tests.data.corpora.builders import lay_out, recordings

RULES = {"calm": "neutral", "contempt": "drop", "labels": "acted", "ties": "drop"}
PROJECT = Path(__file__).resolve().parents[2]


def catalogued(raw, corpus, **rules):
    table = catalogue(corpus, scan(raw, corpus, imported=raw / "nothing"), RULES | rules)
    return table.set_index("path")[["emotion", "labels", "reason", "rule"]].apply(tuple, axis=1).to_dict()


@pytest.fixture
def ravdess(tmp_path):
    return lay_out(tmp_path, "RAVDESS/03-01-01-01-01-01-01.wav", "RAVDESS/03-01-02-01-01-01-01.wav")


def test_calm_becomes_neutral(ravdess):
    assert catalogued(ravdess, RAVDESS) == {
        "RAVDESS/03-01-01-01-01-01-01.wav": ("neutral", 0, "", ""),
        "RAVDESS/03-01-02-01-01-01-01.wav": ("neutral", 0, "", "calm: neutral"),
    }


def test_calm_is_left_out_on_request(ravdess):
    assert catalogued(ravdess, RAVDESS, calm="drop")["RAVDESS/03-01-02-01-01-01-01.wav"] == ("", -1, "emotion: calm", "calm: drop")


def test_contempt_is_left_out_or_kept_as_disgust(tmp_path):
    lay_out(tmp_path, "EMOFILM/f_ans001aen.wav", "EMOFILM/f_dis001aen.wav")
    assert catalogued(tmp_path, EMOFILM)["EMOFILM/f_dis001aen.wav"] == ("", -1, "emotion: contempt", "contempt: drop")
    kept = catalogued(tmp_path, EMOFILM, contempt="disgust")["EMOFILM/f_dis001aen.wav"]
    assert kept == ("disgust", 5, "", "contempt: disgust")


def test_what_listeners_heard_replaces_what_was_acted_and_ties_are_left_out(tmp_path):
    names = ("1001_IEO_NEU_XX", "1001_IEO_ANG_HI", "1001_IEO_FEA_LO", "1001_IEO_SAD_LO")
    lay_out(tmp_path, *(f"CREMA/AudioWAV/{name}.wav" for name in names))
    votes = b'"","FileName","VoiceVote"\n1,1001_IEO_NEU_XX,N\n2,1001_IEO_ANG_HI,N\n3,1001_IEO_FEA_LO,F:S\n'
    lay_out(tmp_path, "CREMA/processedResults/summaryTable.csv", content=votes)
    assert list(catalogued(tmp_path, CREMA, labels="perceived").values()) == [
        ("neutral", 0, "", "labels: perceived"),
        ("", -1, "listeners disagree", "labels: perceived"),
        ("neutral", 0, "", ""),
        ("", -1, "no perceived emotion", "labels: perceived"),
    ]
    assert [row[0] for row in catalogued(tmp_path, CREMA).values()] == ["angry", "fear", "neutral", "sad"]


def test_perceived_labels_without_the_table_are_an_error_that_names_it(tmp_path):
    lay_out(tmp_path, "CREMA/1001_IEO_NEU_XX.wav")
    with pytest.raises(DataError, match=r"labels=perceived needs processedResults/tabulatedVotes\.csv or processedResults/summaryTable"):
        catalogued(tmp_path, CREMA, labels="perceived")


def test_a_corpus_of_which_no_clip_is_left_is_an_error_that_counts_why(tmp_path):
    lay_out(tmp_path, "EMOFILM/f_dis001aen.wav", "EMOFILM/f_dis002aen.wav")
    with pytest.raises(DataError, match="no clip of EMOFILM is left: 2 emotion: contempt"):
        catalogued(tmp_path, EMOFILM)


def test_other_files_are_counted_in_the_parquet_file(ravdess):
    lay_out(ravdess, "RAVDESS/readme.txt")
    table = catalogue(RAVDESS, scan(ravdess, RAVDESS), RULES)
    table.to_parquet(ravdess / "table.parquet")
    read = pd.read_parquet(ravdess / "table.parquet")
    assert list(read.columns) == list(COLUMNS)
    assert read.attrs["other_files"] == {".txt": 1}


speakers = st.sampled_from(["ann", "bob", "cleo", "dan", UNKNOWN])
scenes = st.sampled_from(["", "s1", "s2", "s3"])


@given(st.lists(st.tuples(speakers, scenes)))
def test_no_speaker_and_no_scene_is_in_two_groups(drawn):
    clips = [Clip("x", speaker, recording=str(number), scene=scene) for number, (speaker, scene) in enumerate(drawn)]
    groups = group_clips(clips)
    for field in ("speaker", "scene"):
        for value in {getattr(clip, field) for clip in clips} - {UNKNOWN, ""}:
            assert len({group for group, clip in zip(groups, clips, strict=True) if getattr(clip, field) == value}) == 1
    assert group_clips(clips[::-1]) == groups[::-1]


def run_stage(folder, corpus):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "pipelines.catalogue", "--corpus", corpus]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def project_over(folder: Path, raw: Path) -> Path:
    (folder / "params.yaml").write_text((PROJECT / "params.yaml").read_text().replace("raw: data/demo", f"raw: {raw}"))
    return folder


def test_the_stage_writes_the_catalogue_and_says_what_it_did(tmp_path, ravdess):
    done = run_stage(project_over(tmp_path, ravdess), "RAVDESS")
    assert done.returncode == 0, done.stderr
    assert "RAVDESS: 2 audio files found, 2 in the catalogue" in done.stdout
    assert "by rule: 1 calm: neutral" in done.stdout
    assert len(pd.read_parquet(tmp_path / "data/catalogue/RAVDESS.parquet")) == 2


def test_the_stage_fails_with_one_line_where_the_folder_is_missing(tmp_path, ravdess):
    done = run_stage(project_over(tmp_path, ravdess), "TESS")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no folder ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("corpus", "count"), [("CREMA", 75), ("RAVDESS", 28), ("TESS", 84)])
def test_real_recordings_are_catalogued(tmp_path, corpus, count):
    done = run_stage(project_over(tmp_path, recordings(corpus)), corpus)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / f"data/catalogue/{corpus}.parquet")
    assert (table["reason"] == "").sum() == count
