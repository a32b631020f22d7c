"""An exported graph answers as the predictor does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import ModelError, SettingsError
from ser_mlops.models.build import load_classifier
from ser_mlops.serving import onnx_export
from ser_mlops.serving.onnx_export import PACKAGES, TOLERANCE, export_onnx
from ser_mlops.serving.predictor import Predictor, Terms, save_model_folder
from tests.models.builders import ARCHITECTURES, NEWER, padded, some_waves, write_checkpoint


@pytest.fixture
def _installed() -> None:
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed (pip install -e .[onnx])")


def model_folder(folder: Path, alias: str, *, attention_mask: bool = True) -> Path:
    """A model of one layer whose answers differ from clip to clip, as a new head's do not."""
    checkpoint = write_checkpoint(folder / "checkpoint", alias, **{"encoder_layers" if "Whisper" in alias else "num_hidden_layers": 1})
    classifier = load_classifier(str(checkpoint), seed=1, attention_mask=attention_mask)
    with torch.no_grad():
        logits_BE = torch.cat([classifier(*padded(classifier, [wave])) for wave in some_waves(8000, 16000, 32000)])
        factor, head = 1 / logits_BE.std(dim=0).max(), classifier.net.classifier
        head.bias.copy_((head.bias - logits_BE.mean(dim=0)) * factor)
        head.weight *= factor
    save_model_folder(classifier, folder / "model", Terms(30.0, 0.1, ""))
    answers = Predictor.open(folder / "model").predict(some_waves(8000, 16000, 32000))[list(EMOTIONS)]
    assert answers.std().max() > 100 * TOLERANCE
    return folder / "model"


LAYOUTS = {
    "W2V2-base": {
        "input_values": "float32, clips x samples",
        "attention_mask": "int64, clips x samples: 1, or 0 where a clip was filled up",
    },
    "Whisper-small": {
        "input_features": "float32, clips x frames x mel bins (transformers' feature extractor returns mel bins x frames)",
    },
}


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("alias", LAYOUTS)
def test_a_graph_answers_as_the_predictor_alone_and_padded_with_its_contract_beside_it(tmp_path, alias):
    assert export_onnx(model_folder(tmp_path, alias), tmp_path / "onnx") < TOLERANCE
    contract = json.loads((tmp_path / "onnx/contract.json").read_text())
    assert contract["emotions"] == list(EMOTIONS)
    assert contract["graph"]["inputs"] == LAYOUTS[alias]
    assert {contract["graph"]["file"], contract["graph"]["weights"]} < {path.name for path in (tmp_path / "onnx").iterdir()}


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("attention_mask", [True, False])
@pytest.mark.parametrize("alias", ARCHITECTURES | NEWER)
def test_every_architecture_is_exported(tmp_path, alias, attention_mask):
    assert export_onnx(model_folder(tmp_path, alias, attention_mask=attention_mask), tmp_path / "onnx") < TOLERANCE


@pytest.mark.usefixtures("_installed")
def test_a_graph_that_answers_otherwise_is_refused_and_the_one_before_it_stays(tmp_path, monkeypatch):
    folder = model_folder(tmp_path, "Whisper-small")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"another's")
    answers = onnx_export._answer
    monkeypatch.setattr(onnx_export, "_answer", lambda *asked: np.roll(answers(*asked), 1, axis=1))
    with pytest.raises(ModelError, match=r"the graph differs from the model by .* in a probability, expected at most 0\.0001"):
        export_onnx(folder, tmp_path / "onnx")
    assert {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()} == {"model.onnx": b"another's"}


def test_without_the_extra_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_export, "PACKAGES", ("numpy", "no_such_package"))
    with pytest.raises(SettingsError, match=r"no_such_package is not installed, which export_onnx needs: pip install -e \.\[onnx\]"):
        export_onnx(tmp_path, tmp_path / "onnx")
