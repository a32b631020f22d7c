"""An exported graph answers as the predictor does."""

import json

import pytest

from ser_mlops.emotions import EMOTIONS
from ser_mlops.models.build import load_classifier
from ser_mlops.serving.onnx_export import PACKAGES, TOLERANCE, export_onnx
from ser_mlops.serving.predictor import Terms, save_model_folder
from tests.models.builders import write_checkpoint


@pytest.mark.parametrize("alias", ["W2V2-base", "HuB-ER"])
def test_a_graph_answers_as_the_predictor_alone_and_padded_with_its_contract_beside_it(tmp_path, alias):
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e .[onnx])")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", alias)
    save_model_folder(load_classifier(str(checkpoint), seed=1), tmp_path / "model", Terms(30.0, 0.1, ""))
    assert export_onnx(tmp_path / "model", tmp_path / "onnx") < TOLERANCE
    contract = json.loads((tmp_path / "onnx/contract.json").read_text())
    assert contract["emotions"] == list(EMOTIONS)
    assert contract["graph"]["inputs"] == ["input_values", "attention_mask"]
