"""Entry point `embed`: its tables hold what plain transformers computes, its scores are those of a plain scikit-learn script."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_mlops.experiments.embeddings import advice
from ser_mlops.experiments.layer_probes import CORPUS, EMOTION, SPEAKER, Probed, plan_probes
from ser_mlops.models.build import load_classifier
from tests.builders import parted_frame, tiny_frame
from tests.models.contract import write_family
from tests.project import metrics_of

pytestmark = pytest.mark.timeout(600)
CORPORA = ("SAVEE", "TESS")


@pytest.fixture(scope="module")
def embedded(project):
    """The run that embedded two corpora by `tiny`."""
    return project.opened(project.run_here("pipelines.embed", model="tiny", corpora=",".join(CORPORA), figures="png"))


def table_of(project, corpus: str, model: str = "tiny") -> pd.DataFrame:
    return pd.read_parquet(project.root / "embeddings" / model / f"{corpus}.parquet")


def test_a_table_holds_the_frame_and_the_outputs_of_plain_transformers(project, embedded):
    table, frame = table_of(project, "SAVEE"), pd.read_parquet(project.root / "data/frames/SAVEE.parquet")
    pd.testing.assert_frame_equal(table[[*frame.columns]], frame, check_categorical=False)
    assert [name for name in table.columns if name not in frame.columns] == ["layer_0", "layer_1", "layer_2"]
    audio = np.load(project.root / "data/audio/SAVEE.npy", mmap_mode="r")
    classifier = load_classifier("tiny", seed=1)
    for clip in table.sample(5, random_state=1).itertuples():
        inputs = classifier.extractor(audio[clip.start : clip.start + clip.num_samples] / 32768, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            states = classifier.net(**inputs, output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            np.testing.assert_allclose(getattr(clip, f"layer_{layer}"), state.mean(dim=1)[0].numpy(), atol=1e-5)


def test_scores_are_those_of_a_plain_script_over_the_same_vectors_and_folds(project, embedded):
    scores = pd.read_csv(project.client.download_artifacts(embedded.info.run_id, "probes.csv"))
    for corpus in CORPORA:
        table = table_of(project, corpus)
        num_emotions = table["labels"].nunique()
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(num_emotions, 1 / num_emotions))
        for layer in range(3):
            vectors = np.stack(table[f"layer_{layer}"]).astype(np.float64)
            probe = make_pipeline(StandardScaler(), analysis)
            answers = cross_val_predict(probe, vectors, table["labels"], groups=table["fold"], cv=LeaveOneGroupOut())
            (row,) = scores.query(f"probe == 'emotion' and data == '{corpus}' and layer == {layer}").itertuples()
            assert row.score == pytest.approx(balanced_accuracy_score(table["labels"], answers), abs=1e-9)
            assert row.ci_low <= row.score <= row.ci_high
    mean = scores.query("probe == 'emotion' and data == 'mean'").set_index("layer")["score"]
    by_corpus = scores.query("probe == 'emotion' and data != 'mean'").groupby("layer")["score"].mean()
    np.testing.assert_allclose(mean, by_corpus)
    assert embedded.data.metrics["embed/best_layer"] == mean.idxmax()


def test_the_run_has_scores_by_layer_figures_and_no_audio(project, embedded):
    assert (embedded.info.status, embedded.data.tags["kind"], embedded.data.tags["data"]) == ("FINISHED", "embed", "synthetic")
    history = project.client.get_metric_history(embedded.info.run_id, "embed/mean/emotion")
    assert sorted(point.step for point in history) == [0, 1, 2]
    assert {f"embed/{corpus}/speaker" for corpus in CORPORA} | {"embed/all/corpus"} <= embedded.data.metrics.keys()
    best = int(embedded.data.metrics["embed/best_layer"])
    artifacts = {item.path for folder in ("", "figures") for item in project.client.list_artifacts(embedded.info.run_id, folder)}
    assert {"embeddings.md", "probes.csv", "points.csv", "figures", "figures/layers.png", f"figures/layer_{best}.png"} == artifacts
    frozen = {0: "freeze=feature_encoder", 1: "freeze=encoder:1", 2: "freeze=encoder`"}[best]
    assert frozen in embedded.data.tags["mlflow.note.content"]
    assert "synthetic data" in embedded.data.tags["mlflow.note.content"]


def test_the_same_again_from_the_caches_is_equal_in_every_number(project, embedded):
    before = table_of(project, "TESS")
    printed = project.run_here("pipelines.embed", model="tiny", corpora=",".join(CORPORA))
    again = project.opened(printed)
    assert "encoder, once" not in printed
    assert metrics_of(again, "embed/") == metrics_of(embedded, "embed/")
    points = [pd.read_csv(project.client.download_artifacts(run.info.run_id, "points.csv")) for run in (embedded, again)]
    pd.testing.assert_frame_equal(*points)
    np.testing.assert_array_equal(np.stack(table_of(project, "TESS")["layer_2"]), np.stack(before["layer_2"]))


def test_a_round_is_embedded_by_its_own_encoder_over_its_own_corpora(project, embedded):
    trained = {"test_dataset": "SAVEE", "model": "tiny", "epochs": "1", "rounds": "1", "lr": "1e-2", "batch_size": "8", "register": "emb"}
    parent = project.opened(project.run_here("pipelines.train", **trained))
    run_id = parent.info.run_id
    run = project.opened(project.run_here("pipelines.embed", run_id=run_id, layer="2", points="50", figures="pdf"))
    own, checkpoint = table_of(project, "SAVEE", run_id), table_of(project, "SAVEE")
    assert own["path"].tolist() == checkpoint["path"].tolist()
    assert not np.allclose(np.stack(own["layer_2"]), np.stack(checkpoint["layer_2"]), atol=1e-3)
    assert "figures/layer_2.pdf" in {item.path for item in project.client.list_artifacts(run.info.run_id, "figures")}
    assert not (project.root / "embeddings" / run_id / "TESS.parquet").exists()
    assert len(pd.read_csv(project.client.download_artifacts(run.info.run_id, "points.csv"))) == 50
    page = run.data.tags["mlflow.note.content"]
    assert "The encoder was trained on clips of SAVEE that the probes are tested on" in page
    assert "freeze=" not in page
    project.run_here("pipelines.embed", run_id="models:/emb@champion", layer="2", points="50")
    registered = table_of(project, "SAVEE", "models-emb-champion")
    np.testing.assert_array_equal(np.stack(registered["layer_2"]), np.stack(own["layer_2"]))
    elsewhere = project.run_here("pipelines.embed", run_id=run_id, corpora="TESS", output="elsewhere")
    assert "was trained on" not in elsewhere


def test_the_vectors_of_the_baseline_are_a_layer(project):
    run = project.opened(project.run_here("pipelines.embed", model="baseline", corpora="SAVEE", output="elsewhere"))
    table = pd.read_parquet(project.root / "elsewhere/baseline/SAVEE.parquet")
    assert np.stack(table["layer_0"]).shape == (len(table), 411)
    assert run.data.metrics["embed/SAVEE/emotion"] > 0.3


def test_clips_of_which_whisper_would_hear_the_beginning_alone_are_refused(project, tmp_path):
    model = str(write_family(tmp_path / "whisper", "whisper"))  # which hears 1 s
    told = project.refuse_here("pipelines.embed", model=model, corpora="SAVEE")
    assert "of which whisper hears 1" in told
    assert told.rstrip().endswith("such): choose other corpora or another model")


def test_what_cannot_be_embedded_is_refused_in_one_line(project):
    refuse = project.refuse_here
    line = refuse("pipelines.embed", model="tiny", corpora="CREMAA")
    assert line.startswith("error: unknown corpus 'CREMAA', expected one of: CREMA, SAVEE")
    assert refuse("pipelines.embed", model="tinny").startswith("error: unknown model 'tinny', expected one of: HuB-LL")
    line = refuse("pipelines.embed", model="tiny", corpora="SAVEE", layer="3")
    assert line == "error: layer=3 is not accepted, the model has the layers 0 to 2"
    assert refuse("pipelines.embed", run_id="nonsense").startswith("error: no run 'nonsense' in sqlite:")


@pytest.mark.parametrize(
    ("scores", "low", "said"),
    [
        ([0.2, 0.5, 0.4], 0.45, "layer 1 of 2: to freeze, try `freeze=encoder:1` first. The layer was chosen"),
        (
            [0.2, 0.4, 0.5],
            0.35,
            "to freeze, try `freeze=encoder` first. Its interval also contains the UAR of layer 1.",
        ),
        ([0.5, 0.2, 0.2], 0.45, "`freeze=feature_encoder`"),
        ([0.2, 0.3, 0.2], 0.15, "not shown to be above chance in any layer"),
    ],
)
def test_what_is_advised_follows_from_the_best_layer_and_its_interval(scores, low, said):
    table = pd.DataFrame({"layer": range(3), "probe": EMOTION, "data": "X", "score": scores, "ci_low": low, "ci_high": 0.9, "chance": 0.2})
    assert said in advice(Probed(table, ()), 3)


def test_probes_are_planned_by_official_parts_and_by_speakers_and_what_cannot_be_is_said():
    parted = parted_frame("MSP", {"a": "train", "b": "validation", "c": "test1", "d": "test2"})
    lone = tiny_frame("LONE", {"x": 0})
    tasks, notes = plan_probes({"MSP": parted, "LONE": lone}, seed=1, is_by_speaker=True)
    found = {(task.probe, task.data): task for task in tasks}
    assert set(found) == {(EMOTION, "MSP"), (SPEAKER, "MSP")}
    tested = found[(EMOTION, "MSP")].tested_N
    assert set(parted.loc[tested, "part"]) == {"test1", "test2"}
    assert [note.partition(":")[0] for note in notes] == [
        "emotion in LONE is not probed",
        "speakers in LONE are not probed",
        "the corpus is not probed",
    ]
    drawn, _ = plan_probes({"TWO": tiny_frame("TWO", {"x": 0, "y": 0})}, seed=1, is_by_speaker=False)
    folds = dict(zip(drawn[0].frame["speaker"], drawn[0].folds_N, strict=True))
    assert (drawn[0].probe, len(set(folds.values()))) == (EMOTION, 2)
    assert {task.probe for task in drawn} == {EMOTION, SPEAKER}
    assert CORPUS not in {task.probe for task in drawn}
