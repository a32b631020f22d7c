"""From recordings to DataFrames and their report: the seven synthetic demo corpora, and real samples where they are."""

import json
import os
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from pipelines import audio, catalogue, frames, report
from ser_mlops.data.corpora.registry import CORPORA
from ser_mlops.data.demo.writing import write_demo
from ser_mlops.data.frames import read_frame
from ser_mlops.emotions import EMOTIONS
from tests.data.audio.sounds import encoded, noise

PROJECT = Path(__file__).parents[2]


def write_params(folder: Path, raw: str, corpora: list[str], **changes: str) -> None:
    """Write the project's params.yaml with other recordings, and other values of some keys."""
    text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    for key, value in {"raw": raw, "corpora": f"[{', '.join(corpora)}]", **changes}.items():
        text = re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, count=1, flags=re.MULTILINE)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def run_stages(folder: Path, corpora: list[str], *stages: ModuleType) -> None:
    """Run the `main` of stages in a project folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in stages:
            for corpus in corpora:
                patch.setattr("sys.argv", ["stage", "--corpus", corpus])
                stage.main()


def write_report(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["report"])
        report.main()


def demo_project(folder: Path, corpora: list[str]) -> Path:
    """A project whose demo corpora went through every stage."""
    for corpus in corpora:
        write_demo(corpus, folder / "data/demo" / corpus)
    write_params(folder, "data/demo", corpora)
    run_stages(folder, corpora, catalogue, audio, frames)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = demo_project(tmp_path_factory.mktemp("project"), list(CORPORA))
    write_report(folder)
    return folder


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_demo_corpus_gives_a_frame_with_its_folds_and_whole_groups(project, corpus):
    frame = read_frame(project / f"data/frames/{corpus}.parquet")
    side = frame["fold"].astype("str") + frame["part"]
    assert (side.groupby(frame["group"]).nunique() == 1).all()
    assert not frame["sha256"].duplicated().any()
    if CORPORA[corpus].num_folds:
        assert set(frame["fold"]) == set(range(CORPORA[corpus].num_folds))
        assert (side[frame["speaker"] != f"{corpus}/unknown"].groupby(frame["speaker"]).nunique() == 1).all()
    else:
        assert {"train", "validation", "test1", "test2"} == set(frame["part"])


@pytest.mark.parametrize("corpus", CORPORA)
def test_what_was_found_is_kept_or_left_out(project, corpus):
    quality = json.loads((project / "reports/data/quality.json").read_text())[corpus]
    left_out = pd.read_csv(project / f"data/left_out/{corpus}.csv")
    assert quality["found"] == quality["kept"] + sum(quality["left_out"].values())
    assert quality["kept"] == len(read_frame(project / f"data/frames/{corpus}.parquet"))
    assert sum(quality["left_out"].values()) == len(left_out)


def test_the_report_says_synthetic_and_shows_classes_speakers_and_folds(project):
    reports = project / "reports/data"
    page = (reports / "index.md").read_text()
    assert "SYNTHETIC" in page.splitlines()[2]
    for corpus in CORPORA:
        assert f"## {corpus} (SYNTHETIC)" in page
    for link in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (reports / link).stat().st_size > 5000
    frame = read_frame(project / "data/frames/CREMA.parquet")
    emotions = pd.read_csv(reports / "emotions.csv").query("corpus == 'CREMA'").set_index("emotion")["clips"]
    assert emotions.to_dict() == frame["emotions"].value_counts().to_dict()
    folds = pd.read_csv(reports / "folds.csv").query("corpus == 'CREMA'")
    assert folds[list(EMOTIONS)].to_numpy().sum() == len(frame) == folds["clips"].sum()
    speakers = pd.read_csv(reports / "speakers.csv").query("corpus == 'CREMA'")
    assert speakers["clips"].sum() == len(frame)
    for name in ("durations", "levels"):
        assert pd.read_csv(reports / f"{name}.csv").query("corpus == 'CREMA'")["clips"].sum() == len(frame)


def test_the_report_counts_a_clip_that_a_rule_left_out_once_and_nobody_as_a_speaker(project):
    """Of EMOFILM's demo, contempt is left out and one voice is nobody's."""
    section = (project / "reports/data/index.md").read_text().split("## EMOFILM")[1].split("## ")[0]
    assert [line.split("|")[2].strip() for line in section.splitlines() if "contempt" in line and line.startswith("|")] == [
        "emotion: contempt"
    ]
    frame = read_frame(project / "data/frames/EMOFILM.parquet")
    assert (frame["speaker"] == "EMOFILM/unknown").any()
    quality = json.loads((project / "reports/data/quality.json").read_text())["EMOFILM"]
    assert quality["speakers"] == frame["speaker"].nunique() - 1
    folds = pd.read_csv(project / "reports/data/folds.csv").query("corpus == 'EMOFILM'")
    assert folds[["female", "male", "unknown gender"]].sum().tolist() == [*frame["gender"].value_counts()[["female", "male"]], 0]
    unknown = frame[frame["speaker"] == "EMOFILM/unknown"]
    assert folds["speakers"].sum() == frame.loc[~frame.index.isin(unknown.index), "speaker"].nunique()


def test_the_report_shows_an_example_of_every_warning(tmp_path):
    write_demo("SAVEE", tmp_path / "data/demo/SAVEE")
    clips = sorted((tmp_path / "data/demo/SAVEE").rglob("*.wav"))
    for number, clip in enumerate(clips[:3]):
        left = noise(1.0, seed=number)
        clip.write_bytes(encoded(np.stack([left, 0.5 * left], axis=1)))
    clips[3].write_bytes(clips[3].read_bytes()[:9000])
    write_params(tmp_path, "data/demo", ["SAVEE"])
    run_stages(tmp_path, ["SAVEE"], catalogue, audio, frames)
    write_report(tmp_path)
    page = (tmp_path / "reports/data/index.md").read_text()
    quality = json.loads((tmp_path / "reports/data/quality.json").read_text())["SAVEE"]
    assert quality["warnings"]["channels differ"] == 3
    assert quality["left_out"] == {"cut off": 1}
    assert f"- `{clips[0].relative_to(tmp_path / 'data/demo').as_posix()}`: channels differ" in page
    assert re.search(r": cut off: 0\.\d of \d\.\d s\n", page)


def test_the_same_recordings_give_the_same_bytes(project, tmp_path):
    demo_project(tmp_path, ["EMOFILM"])
    tables = [path.relative_to(tmp_path) for path in tmp_path.glob("data/*/EMOFILM.*")]
    assert {path.parts[1] for path in tables} == {"catalogue", "audio", "frames", "left_out"}
    for path in tables:
        assert (tmp_path / path).read_bytes() == (project / path).read_bytes(), path


def test_a_changed_rule_needs_no_new_decoding(tmp_path):
    before = len(read_frame(demo_project(tmp_path, ["RAVDESS"]) / "data/frames/RAVDESS.parquet"))
    write_params(tmp_path, "data/demo", ["RAVDESS"], calm="drop")
    run_stages(tmp_path, ["RAVDESS"], catalogue, frames)
    write_report(tmp_path)
    quality = json.loads((tmp_path / "reports/data/quality.json").read_text())["RAVDESS"]
    assert quality["left_out"]["emotion: calm"] == quality["rules"]["calm: drop"] == before - quality["kept"] > 0


def test_the_old_rule_makes_two_folds_of_single_clips(tmp_path):
    demo_project(tmp_path, ["SAVEE"])
    write_params(tmp_path, "data/demo", ["SAVEE"], split="stratified")
    run_stages(tmp_path, ["SAVEE"], frames)
    frame = read_frame(tmp_path / "data/frames/SAVEE.parquet")
    assert set(frame["fold"]) == {0, 1}
    assert frame["group"].tolist() == frame["path"].tolist()
    assert (frame["fold"] == 0).mean() == pytest.approx(0.2, abs=0.05)


@pytest.mark.skipif("SER_RECORDINGS" not in os.environ, reason="SER_RECORDINGS names no folder of real recordings")
def test_real_recordings_are_read_defects_and_all(tmp_path):
    corpora = ["CREMA", "RAVDESS", "TESS"]
    (tmp_path / "raw").symlink_to(os.environ["SER_RECORDINGS"])
    write_params(tmp_path, "raw", corpora)
    run_stages(tmp_path, corpora, catalogue, audio, frames)
    write_report(tmp_path)
    kept = {corpus: read_frame(tmp_path / f"data/frames/{corpus}.parquet") for corpus in corpora}
    assert {corpus: len(frame) for corpus, frame in kept.items()} == {"CREMA": 72, "RAVDESS": 27, "TESS": 84}
    left_out = pd.concat([pd.read_csv(tmp_path / f"data/left_out/{corpus}.csv") for corpus in corpora])
    assert left_out.groupby("reason")["path"].apply(lambda paths: [Path(path).stem for path in paths]).to_dict() == {
        "all zeros": ["1076_MTI_SAD_XX"],
        "duplicate samples with another label": ["1006_TIE_HAP_XX", "1006_TIE_NEU_XX"],
        "duplicate samples": ["03-01-03-01-02-02-07"],
    }
    stems = {Path(path).stem for path in kept["TESS"]["path"]}
    assert {"OA_bite_neutral", "OAF_food_fear", "YAF_germ_angry", "YAF_neat_fear"} <= stems
    assert "SYNTHETIC" not in (tmp_path / "reports/data/index.md").read_text()
