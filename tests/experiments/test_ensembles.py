"""The ensemble of an experiment's rounds is served as one model, whose answers are those of its prediction table."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from ser_mlops.data.audio.decode import decode
from ser_mlops.errors import ModelError
from ser_mlops.experiments.encoders import open_encoder
from ser_mlops.models.build import load_classifier
from ser_mlops.models.ensemble import Ensemble, share_encoder
from ser_mlops.scores.predictions import emotions_of, ensemble_of, logits_of
from ser_mlops.serving.champion import fetched, limits_of
from ser_mlops.serving.onnx_export import export_onnx
from ser_mlops.serving.predictor import CARD, Predictor, rounds_in
from tests.project import Project
from tests.tracking.builders import in_store

pytestmark = pytest.mark.timeout(600)
SHORT = {"test_dataset": "CREMA", "rounds": "2", "register_as": "ensemble"}
NETWORK = {"model": "tiny", "freeze": "encoder", "epochs": "2", "lr": "1e-2", "batch_size": "8", "keep": "none"}
BASELINE = {"model": "baseline", "emotions": "neutral,happy,sad,angry"}


def answers(project: Project, predictor: Predictor, table: pd.DataFrame) -> np.ndarray:
    waves = [decode(project.root / "data/demo" / path, predictor.terms.min_seconds).samples for path in table["path"]]
    return predictor.predict(waves)[list(emotions_of(table))].to_numpy()


@pytest.mark.parametrize(("name", "given"), [("network", NETWORK), ("four", BASELINE)])
def test_an_ensemble_is_served_as_one_model_that_answers_as_its_prediction_table(project, name, given):
    output = project.run_here("pipelines.train", **SHORT, **given, register=name)
    assert re.search(rf"{name} version 1 \(ensemble of 2 rounds of CREMA fold 0, [\d.]+ [kM]B\), now champion", output)
    with in_store(f"sqlite:///{project.root}/mlflow.db", project.root):
        parent = project.client.get_run(project.client.get_model_version_by_alias(name, "champion").run_id)
        uri = f"models:/{name}@champion"
        with fetched(uri) as folder:
            predictor, num_rounds, card = Predictor.open(folder), len(rounds_in(folder)), (folder / CARD).read_text()
            with pytest.raises(ModelError, match="is an ensemble of 2 rounds, and a graph is made of one model"):
                export_onnx(folder, Path("onnx"))
        with pytest.raises(ModelError, match=f"{uri} is an ensemble of 2 rounds, and layers"):
            open_encoder("tiny", uri, seed=0)
        assert limits_of(uri) is not None
        table = pd.read_parquet(project.client.download_artifacts(parent.info.run_id, "ensemble/test_CREMA.parquet"))
        rounds = project.client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["attributes.start_time ASC"]
        )
        of_rounds = [
            pd.read_parquet(project.client.download_artifacts(run.info.run_id, "predictions/test_CREMA.parquet")) for run in rounds
        ]
    assert num_rounds == 2
    assert "CREMA fold 0, ensemble of 2 rounds: " in card
    differ = "trained alike, each with a seed of its own" if name == "network" else "nothing in the baseline is random, so they are equal"
    assert f"The mean of the probabilities of 2 models ({differ}): " in card
    assert f"| {parent.data.metrics['test/uar_ensemble']:.4f} |" in card
    pd.testing.assert_frame_equal(table, ensemble_of(of_rounds))
    np.testing.assert_allclose(answers(project, predictor, table), softmax(logits_of(table), axis=1), atol=1e-5)
    if name == "network":
        assert share_encoder(predictor.model.members), "the frozen encoder is computed once"
        assert "keep=none: freed 2 models" in output
        code, _, told = project.call("pipelines.train", {"resume": parent.info.run_id, "register": name, "register_as": "ensemble"})
        assert code
        assert f"error: the model of run {rounds[0].info.run_id} was freed on" in told
    else:
        _, printed, _ = project.call("pipelines.reproduce", {"run_id": parent.info.run_id})
        assert "equal: every metric, bit for bit" in printed


def test_models_of_other_emotions_are_no_ensemble():
    members = [load_classifier("tiny", seed=1, emotions=emotions) for emotions in (("neutral", "sad"), ("neutral", "angry"))]
    with pytest.raises(ModelError, match="tell different emotions apart: neutral, sad; neutral, angry"):
        Ensemble.of(members)


def test_networks_that_were_trained_whole_keep_encoders_of_their_own():
    members = [load_classifier("tiny", seed=seed) for seed in (1, 2)]
    head = members[1].net.classifier.weight
    next(members[1].base.parameters()).data.add_(1)
    together = Ensemble.of(members)
    assert not share_encoder(together.members)
    assert head is not members[0].net.classifier.weight


@pytest.mark.parametrize(("given", "needed"), [({"register": "ser", "rounds": "1"}, "two rounds or more, not 1"), ({}, "register=NAME")])
def test_what_no_ensemble_can_be_made_of_is_refused_before_anything_is_computed(project, given, needed):
    told = project.refuse_here("pipelines.train", **{**SHORT, "model": "tiny", **given})
    assert told == f"error: register_as=ensemble needs {needed}"
