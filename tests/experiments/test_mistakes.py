"""Entry point `errors`: the clips that it lists are those which the models get wrong, and what it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_mlops.emotions import EMOTIONS
from ser_mlops.serving.predictor import NETWORK_FOLDER, Predictor
from tests.project import metrics_of

pytestmark = pytest.mark.timeout(600)
TRAINED = {"test_dataset": "SAVEE", "fold": "all", "model": "tiny", "lr": "1e-2", "batch_size": "8", "epochs": "2", "rounds": "2"}
TABLES = {"errors.md", "clips.csv", "mistakes.csv", "pairs.csv", "groups.csv", "stability.csv"}
FIGURES = {"pairs", "confidence", "rounds", "by_emotion", "by_speaker", "by_sentence", "by_length", "by_level"}


@pytest.fixture(scope="module")
def trained(project):
    """A finished experiment over all folds of SAVEE, in two rounds."""
    return project.opened(project.run_here("pipelines.train", **TRAINED, freeze="encoder"))


@pytest.fixture(scope="module")
def errors(project, trained):
    """The run of its errors."""
    return project.opened(project.run_here("pipelines.errors", run_id=trained.info.run_id, top="3", figures="png"))


def table_of(project, run, name: str) -> pd.DataFrame:
    return pd.read_csv(project.client.download_artifacts(run.info.run_id, name), keep_default_na=False)


def test_the_listed_clips_are_those_that_the_models_get_wrong(project, trained, errors):
    """The models are asked again, clip by clip, from the recordings' own samples: no table of predictions is read."""
    listed = table_of(project, errors, "mistakes.csv")
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet").set_index("path")
    audio = np.load(project.root / "data/audio/SAVEE.npy", mmap_mode="r")
    wrong, asked = set(), 0
    for child in project.children_of(trained):
        (output,) = child.outputs.model_outputs
        predictor = Predictor.open(Path(project.client.get_logged_model(output.model_id).artifact_location) / NETWORK_FOLDER)
        for path, clip in frame[frame["fold"] == int(child.data.tags["fold"])].iterrows():
            row = predictor.predict([audio[clip["start"] : clip["start"] + clip["num_samples"]]]).iloc[0]
            asked += 1
            if row["emotion"] != EMOTIONS[clip["labels"]]:
                wrong.add((path, int(child.data.tags["round"]), EMOTIONS[clip["labels"]], row["emotion"]))
                (same,) = listed[(listed["path"] == path) & (listed["round"] == int(child.data.tags["round"]))].itertuples()
                assert same.confidence == pytest.approx(row[row["emotion"]], abs=1e-5)
    assert asked == 2 * len(frame)
    assert set(listed[["path", "round", "emotion", "answer"]].itertuples(index=False, name=None)) == wrong
    assert len(listed) == len(wrong) > 0
    assert listed["confidence"].is_monotonic_decreasing


def test_errors_are_a_run_with_tables_figures_and_a_page(project, trained, errors):
    assert (errors.info.status, errors.data.tags["kind"], errors.data.tags["data"]) == ("FINISHED", "errors", "synthetic")
    assert errors.data.tags["errors_of"] == trained.info.run_id
    artifacts = {item.path for folder in ("", "figures") for item in project.client.list_artifacts(errors.info.run_id, folder)}
    assert {f"figures/{name}.png" for name in FIGURES} | TABLES <= artifacts
    assert not [path for path in artifacts if path.endswith((".wav", ".npy"))]
    assert "synthetic data" in errors.data.tags["mlflow.note.content"]
    metrics = metrics_of(errors, "errors/")
    assert metrics["errors/wrong"] == pytest.approx(1 - trained.data.metrics["test/accuracy_mean"])
    clips = table_of(project, errors, "clips.csv")
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet")
    assert clips.merge(frame, on="path")["text_x"].tolist() == clips.merge(frame, on="path")["text_y"].tolist()
    assert len(clips) == len(frame)


def test_the_errors_of_one_round_are_its_own(project, trained):
    round = project.children_of(trained)[0]
    run = project.opened(project.run_here("pipelines.errors", run_id=round.info.run_id, figures="pdf"))
    assert "figures/pairs.pdf" in {item.path for item in project.client.list_artifacts(run.info.run_id, "figures")}
    assert metrics_of(run, "errors/")["errors/wrong"] == pytest.approx(1 - round.data.metrics["test/accuracy"])
    assert "errors/agreement" not in run.data.metrics


def test_what_has_no_errors_is_refused_in_one_line(project, errors):
    assert project.refuse_here("pipelines.errors").startswith("error: run_id is not given, expected the id of a finished experiment")
    assert project.refuse_here("pipelines.errors", run_id="nonsense").startswith("error: no run 'nonsense' in sqlite:")
    line = project.refuse_here("pipelines.errors", run_id=errors.info.run_id)
    assert line.startswith(f"error: run {errors.info.run_id} holds no tested rounds: give the id of")


def test_a_frame_that_has_changed_since_is_said_so(project, trained, tmp_path_factory):
    later = project.copy(tmp_path_factory.mktemp("later") / "project")
    for name in ("mlflow.db", "mlruns"):
        (later.root / name).unlink(missing_ok=True)
        (later.root / name).symlink_to(project.root / name)
    path = later.root / "data/frames/SAVEE.parquet"
    frame = pd.read_parquet(path)
    frame.iloc[1:].to_parquet(path)
    printed = later.run_here("pipelines.errors", run_id=trained.info.run_id)
    assert "the frame of SAVEE is not the one that the run was tested on: 1 of its clips are no longer there, 0 have another" in printed
