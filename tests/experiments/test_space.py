"""Five emotions, two of them merged: model, tables, figures, server, champion, compare, table and the rest agree on the four classes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from ser_mlops.emotions import Space
from ser_mlops.serving.onnx_export import PACKAGES
from tests.project import Project, metrics_of, parents_of

pytestmark = pytest.mark.timeout(600)
SPACE = Space.of(["neutral", "happy", "sad", "fear", "surprise"], {"fear": "surprise"})
CLASSES = ("neutral", "happy", "sad", "surprise")
TAG = "neutral, happy, sad, fear+surprise"
GIVEN = {"test_dataset": "SAVEE", "model": "tiny", "freeze": "encoder", "epochs": "1", "rounds": "1", "batch_size": "8", "lr": "0.01"}
FEWER = {"emotions": "happy,neutral,sad,surprise,fear", "merge": "fear=surprise"}


@pytest.fixture(scope="module")
def printed(project: Project) -> str:
    """What a training on the four classes printed, whose model was registered."""
    return project.run_here("pipelines.train", **GIVEN, **FEWER, register="four")


@pytest.fixture(scope="module")
def finished(project: Project, printed: str) -> Run:
    return project.opened(printed)


@pytest.fixture(scope="module")
def whole(project: Project) -> Run:
    """The same on all seven emotions."""
    return project.opened(project.run_here("pipelines.train", **GIVEN))


@pytest.fixture(scope="module")
def baseline(project: Project) -> Run:
    return project.opened(project.run_here("pipelines.baseline", test_dataset="SAVEE", rounds="1", **FEWER))


@pytest.fixture(scope="module")
def predictions(project: Project, finished: Run) -> pd.DataFrame:
    return predictions_of(project, finished)


def predictions_of(project: Project, parent: Run) -> pd.DataFrame:
    (round,) = project.children_of(parent)
    return pd.read_parquet(project.client.download_artifacts(round.info.run_id, "predictions/test_SAVEE.parquet"))


def text_of(project: Project, run: Run, name: str) -> str:
    return Path(project.client.download_artifacts(run.info.run_id, name)).read_text(encoding="utf-8")


def test_the_tags_and_the_announcement_say_which_emotions_and_how_many_clips_are_left_out(project, finished, printed):
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet")
    counts = frame["emotions"].value_counts()
    note = f"emotions: {TAG}; clips of others, which are left out: SAVEE angry {counts['angry']}, disgust {counts['disgust']}"
    assert note in printed.splitlines()
    assert f"- {note}" in finished.data.tags["mlflow.note.content"]
    (round,) = project.children_of(finished)
    assert {run.data.tags["emotions"] for run in (finished, round)} == {TAG}
    assert "4 classes" in finished.info.run_name


def test_tables_and_scores_are_of_the_four_classes_over_the_same_fold(project, finished, whole, predictions):
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet").set_index("path")
    assert [column.removeprefix("logit_") for column in predictions if column.startswith("logit_")] == list(CLASSES)
    assert set(predictions["path"]) == set(frame.index[(frame["fold"] == 0) & ~frame["emotions"].isin(["angry", "disgust"])])
    named = frame.loc[predictions["path"], "emotions"].astype("str").replace("fear", "surprise")
    assert [CLASSES[label] for label in predictions["labels"]] == named.tolist()
    hits = predictions["predicted"].astype("str").to_numpy() == named.to_numpy()
    assert finished.data.metrics["test/uar_mean"] == pytest.approx(pd.Series(hits).groupby(named.to_numpy()).mean().mean())
    assert finished.data.metrics["test/chance"] == 1 / 4
    recalls = {name for name in metrics_of(finished) if name.startswith("test/recall") and name.endswith("_mean")}
    assert recalls == {f"test/recall/{emotion}_mean" for emotion in CLASSES}
    assert set(predictions["path"]) < set(predictions_of(project, whole)["path"])


def test_the_model_its_contract_its_card_and_its_signature_have_the_four_classes(project, finished):
    from transformers import AutoModelForAudioClassification

    (round,) = project.children_of(finished)
    (output,) = round.outputs.model_outputs
    logged = Path(project.client.get_logged_model(output.model_id).artifact_location)
    assert AutoModelForAudioClassification.from_pretrained(logged / "transformers").config.id2label == dict(enumerate(CLASSES))
    contract = json.loads((logged / "transformers/contract.json").read_text(encoding="utf-8"))
    assert (contract["emotions"], contract["joined"]) == (list(CLASSES), {"fear": "surprise"})
    card = (logged / "transformers/README.md").read_text(encoding="utf-8")
    assert "Its surprise is fear, too. Clips of angry or disgust were left out" in card
    assert all(f'"name": "{emotion}"' in (logged / "MLmodel").read_text(encoding="utf-8") for emotion in CLASSES)
    assert '"name": "fear"' not in (logged / "MLmodel").read_text(encoding="utf-8")


def test_predict_answers_with_the_four_classes_as_the_test_did(project, finished, predictions, tmp_path):
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet").set_index("path")
    clip = predictions.iloc[0]
    audio = project.root / "data/demo" / clip["path"]
    assert clip["path"] in frame.index
    project.run_here("pipelines.predict", model_uri="models:/four@champion", audio=str(audio), output=str(tmp_path / "answers.csv"))
    (answer,) = pd.read_csv(tmp_path / "answers.csv").to_dict("records")
    assert [column for column in answer if column in SPACE.classes or column in SPACE.left_out] == list(CLASSES)
    assert answer["emotion"] == clip["predicted"]


def test_an_exported_graph_and_its_contract_have_the_four_classes(project, finished, tmp_path):
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e .[onnx])")
    told = project.run_here("pipelines.export_onnx", model_uri="models:/four@champion", output=str(tmp_path / "onnx"))
    assert "onnx/model.onnx: at most " in told
    contract = json.loads((tmp_path / "onnx/contract.json").read_text(encoding="utf-8"))
    assert (contract["emotions"], contract["joined"]) == (list(CLASSES), {"fear": "surprise"})
    assert (tmp_path / "onnx/README.md").is_file()


def test_a_baseline_is_no_graph(project, baseline, tmp_path):
    line = project.refuse_here("pipelines.export_onnx", model_uri=baseline.info.run_id, output=str(tmp_path / "onnx"))
    assert "holds a baseline, a pipeline of scikit-learn: only networks are exported to ONNX" in line
    assert not (tmp_path / "onnx").exists()
    assert "model_uri is not given, expected models:/NAME@champion" in project.refuse_here("pipelines.export_onnx")


def test_a_mixed_comparison_is_refused_by_name_and_one_of_the_same_classes_is_made(project, finished, whole, baseline):
    runs = f"{whole.info.run_id},{finished.info.run_id}"
    for pipeline in ("pipelines.compare", "pipelines.table"):
        line = project.refuse_here(pipeline, runs=runs)
        assert "experiments on different emotions cannot be compared" in line
        assert f"{TAG}: {finished.info.run_name[:60]} ({finished.info.run_id})" in line
        assert whole.info.run_id in line
    assert baseline.data.tags["emotions"] == TAG
    assert baseline.data.metrics["test/chance"] == 1 / 4
    same = f"{baseline.info.run_id},{finished.info.run_id}"
    assert "UAR" in project.run_here("pipelines.compare", runs=same, resamples="100")
    assert "0.250" in project.run_here("pipelines.table", runs=same, resamples="100")


def test_a_registered_model_takes_no_version_of_other_emotions(project, finished, whole):
    before = len(parents_of(project.runs()))
    line = project.refuse_here("pipelines.train", **GIVEN, register="four")
    assert f"register=four: version 1 of it tells {TAG} apart, this experiment neutral, happy, sad, angry" in line
    assert len(parents_of(project.runs())) == before
    assert "register=four" in project.refuse_here("pipelines.train", resume=whole.info.run_id, register="four")
    (version,) = project.client.search_model_versions("name = 'four'")
    assert version.tags["emotions"] == TAG


def test_a_resume_keeps_the_emotions(project, finished):
    line = project.refuse_here("pipelines.train", resume=finished.info.run_id, emotions="happy,sad")
    assert "emotions=happy,sad, but run" in line
    assert "merge=sad=happy, but run" in project.refuse_here("pipelines.train", resume=finished.info.run_id, merge="sad=happy")


def test_errors_methods_and_embed_follow_the_classes(project, finished):
    mistakes = project.opened(project.run_here("pipelines.errors", run_id=finished.info.run_id))
    clips = pd.read_csv(project.client.download_artifacts(mistakes.info.run_id, "clips.csv"))
    assert {*clips["emotion"], *clips["answer"]} <= set(CLASSES)
    text = project.run_here("pipelines.methods", run_id=finished.info.run_id)
    assert "The classes are neutral, happy, sad and surprise; the test sets have up to 4 of them." in text
    assert "Fear was counted as surprise. Clips of angry and disgust were left out." in " ".join(text.split())
    embedded = project.opened(project.run_here("pipelines.embed", run_id=finished.info.run_id, output=str(project.root / "embedded")))
    probes = pd.read_csv(project.client.download_artifacts(embedded.info.run_id, "probes.csv"))
    emotion = probes[probes["probe"] == "emotion"]
    assert set(emotion["chance"]) == {1 / 4}
    assert emotion["clips"].max() < probes.loc[probes["probe"] == "speaker", "clips"].min()


def test_what_makes_no_classes_is_refused_before_anything_is_read(project):
    assert "unknown emotion 'calm', expected one of: neutral" in project.refuse_here("pipelines.train", **GIVEN, emotions="calm,happy")
    assert "unknown emotion 'fear', expected one of: happy, sad (emotions)" in project.refuse_here(
        "pipelines.train", **GIVEN, emotions="happy,sad", merge="fear=sad"
    )
    assert "only happy is left" in project.refuse_here("pipelines.sweep", **GIVEN, emotions="happy")
