"""The card of a model: what it has heard, and for which recordings its scores hold as it is served."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import model_index_to_eval_results
from transformers.pipelines import SUPPORTED_TASKS

from ser_mlops.data.lock import Version
from ser_mlops.emotions import EMOTIONS
from ser_mlops.experiments.model_card import model_card, served_window
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.scores.metrics import TABLE_SCORES
from ser_mlops.settings.reading import read_settings
from ser_mlops.settings.sections import Settings
from tests.experiments.builders import toy_frame
from tests.project import ROOT

WHOLE = "A recording of at most 30 s is classified as it was evaluated. A longer one was evaluated whole; as served, "
WINDOWS = "A recording of at most 8 s is classified as it was evaluated. A longer one was evaluated by the mean of its windows' logits; "


def card_of(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame, given: Mapping[str, str], note: str = "") -> tuple[str, Settings]:
    monkeypatch.chdir(ROOT)
    (training,) = plan_trainings(
        {"TESS": frame},
        experiment_type="indep",
        train_datasets=(),
        test_dataset="TESS",
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    settings = read_settings(given=given)
    scores = {name: {**dict.fromkeys(TABLE_SCORES, 0.5), "accuracy": 0.25, "recall/anger": 0.5} for name in ("", "TESS")}
    versions = {"TESS": Version(Path("f"), "0" * 32, Path("a"), "1" * 32)}
    return model_card(training, {0: 1}, scores, settings, versions, note), settings


@pytest.mark.parametrize(
    ("given", "seconds", "words", "num_longer"),
    [
        ({"train.model": "tiny"}, 30, WHOLE, 1),
        ({"train.model": "tiny", "train.max_seconds": "8"}, 30, WHOLE, 1),
        ({"train.model": "tiny", "train.max_seconds": "8", "train.evaluate_long": "windows"}, 8, WINDOWS, 2),
        ({"train.model": "baseline"}, 30, WHOLE, 1),
    ],
)
def test_a_card_says_up_to_which_length_its_scores_are_those_of_the_served_model(monkeypatch, given, seconds, words, num_longer):
    frame = toy_frame()
    frame.loc[frame["fold"] == 0, "num_samples"] = [30 * 16000 + 1, 30 * 16000, *[8 * 16000] * 4]
    card, settings = card_of(monkeypatch, frame, given)
    assert served_window(settings) == seconds
    assert words in card
    assert f"({num_longer} of 6 test clips are longer)." in card


def test_a_card_names_the_emotions_that_the_model_has_heard_and_warns_of_the_others(monkeypatch):
    frame = toy_frame()
    card, _ = card_of(monkeypatch, frame, {"train.model": "tiny"})
    heard = [emotion for emotion in EMOTIONS if emotion in set(frame["emotions"])]
    unheard = [emotion for emotion in EMOTIONS if emotion not in heard]
    assert heard
    assert unheard
    assert f"Classifies speech into {', '.join(heard)}. It was trained on no clip of {' or '.join(unheard)}, and an answer" in card


@pytest.mark.parametrize(
    ("model", "base_model", "library"),
    [
        ("HuB-LL", "facebook/hubert-large-ll60k", "transformers"),
        ("someone/theirs", "someone/theirs", "transformers"),
        ("tests/models", None, "transformers"),
        ("tiny", None, "transformers"),
        ("baseline", None, "sklearn"),
    ],
)
def test_the_hub_reads_from_a_card_what_it_was_trained_on_and_how_it_scored(monkeypatch, model, base_model, library):
    text, _ = card_of(monkeypatch, toy_frame(), {"train.model": model})
    data = ModelCard(text).data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (base_model, library, "audio-classification")
    assert (data.language, data.datasets, data.metrics) == (["en"], ["TESS"], ["recall", "accuracy", "f1"])
    assert data.license is None
    assert data.tags == ["speech-emotion-recognition"]
    results = {result.metric_name: result for result in data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "UAR (unweighted average recall)": 0.5,
        "Accuracy (WA)": 0.25,
        "F1, macro average": 0.5,
    }
    for result in results.values():
        assert (result.task_type, result.dataset_name, result.dataset_split) == ("audio-classification", "TESS", "test")
        assert result.dataset_args == {"fold": 0}
    again = ModelCard(f"---\n{data.to_yaml()}\n---\n")
    assert again.data.to_dict() == data.to_dict()


def test_the_hubs_own_readers_take_the_front_matter_as_it_was_meant(monkeypatch, tmp_path):
    text, _ = card_of(monkeypatch, toy_frame(), {"train.model": "HuB-LL"})
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert REGEX_YAML_BLOCK.match(text), "the hub finds no front matter"
    data, loaded = ModelCard(text).data, metadata_load(tmp_path / "README.md")
    assert loaded == data.to_dict()
    name, results = model_index_to_eval_results(loaded["model-index"])
    assert (name, results) == (data.model_name, data.eval_results)
    assert loaded["pipeline_tag"] in SUPPORTED_TASKS


def test_the_hub_is_told_that_a_model_heard_synthetic_sounds(monkeypatch):
    text, _ = card_of(monkeypatch, toy_frame(), {"train.model": "tiny"}, note="synthetic data")
    data = ModelCard(text).data
    assert data.datasets == ["synthetic-TESS"]
    assert "synthetic" in data.tags
    assert {(result.dataset_type, result.dataset_name) for result in data.eval_results} == {("synthetic-TESS", "TESS (synthetic)")}
