"""The way a person takes with real recordings: link them, bring the frames up to date, train."""

import os

import pandas as pd
import pytest

from tests.project import Project, parents_of

pytestmark = pytest.mark.skipif("SER_RECORDINGS" not in os.environ, reason="SER_RECORDINGS names no folder of real recordings")
CORPORA = {"CREMA": 72, "RAVDESS": 27, "TESS": 84}
LEFT_OUT = {
    "1076_MTI_SAD_XX": "all zeros",
    "1006_TIE_HAP_XX": "duplicate samples with another label",
    "1006_TIE_NEU_XX": "duplicate samples with another label",
    "03-01-03-01-02-02-07": "duplicate samples",
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Project:
    """A copy whose frames are of the real recordings."""
    copy = Project.of_checkout(tmp_path_factory.mktemp("recordings"))
    linked = copy.run("make", "--old-file", ".venv/complete", "raw", f"FROM={os.environ['SER_RECORDINGS']}")
    assert "raw: data/raw" in linked
    assert "corpora: [CREMA, RAVDESS, TESS]" in linked
    copy.set(raw="data/raw", corpora="[CREMA, RAVDESS, TESS]")
    assert not [stage for stage in copy.repro() if stage.startswith("demo")]
    return copy


def test_every_clip_is_kept_or_left_out_with_its_reason(recordings):
    frames = {corpus: pd.read_parquet(recordings.root / f"data/frames/{corpus}.parquet") for corpus in CORPORA}
    assert {corpus: len(frame) for corpus, frame in frames.items()} == CORPORA
    left_out = pd.concat([pd.read_csv(recordings.root / f"data/left_out/{corpus}.csv") for corpus in CORPORA])
    assert dict(zip(left_out["path"].str.extract(r"/([^/]+)\.wav$")[0], left_out["reason"], strict=True)) == LEFT_OUT


def test_the_report_shows_the_reasons_and_calls_nothing_synthetic(recordings):
    page = (recordings.root / "reports/data/index.md").read_text(encoding="utf-8")
    for reason in LEFT_OUT.values():
        assert reason in page
    assert "synthetic" not in page.lower()


def test_git_ignores_the_link(recordings):
    assert "data/raw" not in recordings.run("git", "status", "--porcelain", "--untracked-files=all")


def test_a_tiny_model_trains_on_them_and_the_runs_are_tagged_real(recordings):
    recordings.run_here("pipelines.train", test_dataset="CREMA", model="tiny", epochs="1", rounds="1", batch_size="8")
    (parent,) = parents_of(recordings.runs())
    for run in (parent, *recordings.children_of(parent)):
        assert run.info.status == "FINISHED"
        assert run.data.tags["data"] == "real"
        assert "synthetic" not in run.data.tags["mlflow.runName"].lower()
