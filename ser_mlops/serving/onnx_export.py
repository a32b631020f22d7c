"""Exports a network to ONNX, for whoever serves without Python: `model.onnx` with its contract beside it, equal to the predictor's answers.

The graph takes what the feature extractor makes of a batch (`input_values`, or `input_features` for log-mel) and, where the model masks
padding, `attention_mask`; it gives `logits`. Everything before that is said in `contract.json`.

Shape letters: B batch, V values that the feature extractor makes of a clip, E emotions.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn
from torch.export import Dim

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.errors import ModelError, SettingsError
from ser_mlops.files import write_text
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.seeds import rng
from ser_mlops.serving.predictor import CARD, CONTRACT, Predictor, preprocessing_of, refuse_ensemble
from ser_mlops.training.batching import collate

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GRAPH, WEIGHTS = "model.onnx", "model.onnx.data"
"""The graph opens the file of its weights, which lies beside it: together, a large model has more bytes than ONNX allows a file."""
OPSET = 18
TOLERANCE = 1e-4
"""By which a probability of the graph may differ from the predictor's."""
CHECKED_SECONDS = (0.35, 1.0, 1.6, 2.9)
"""Lengths of the clips that a graph is checked on, alone and as one batch."""
COPIED = ("config.json", "preprocessor_config.json", CARD)
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class _Graph(nn.Module):
    """The classifier from the batch on."""

    def __init__(self, classifier: EmotionClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, values_BV: Tensor, mask_BV: Tensor | None = None) -> Tensor:
        """Return logits_BE."""
        model = self.classifier
        lengths_B = torch.full_like(values_BV.flatten(1)[:, 0], values_BV.shape[1]).long() if mask_BV is None else mask_BV.sum(dim=1)
        hidden_BTC = model.family.cnn(model.base, values_BV, lengths_B)
        return model.logits(model.pooled(hidden_BTC, model.family.num_steps(model.config, lengths_B)))


def check_installed() -> None:
    """Raise SettingsError if what exports and runs a graph is not installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise SettingsError(f"{missing[0]} is not installed, which export_onnx needs: pip install -e .[onnx]")


def export_onnx(folder: Path, target: Path) -> float:
    """Export a model folder into `target`; return the largest difference of a probability on the clips that the graph is checked on.

    Raises:
        ModelError: the model is no network, or the graph gives other answers; `target` is as it was.
        SettingsError: what exports a graph is not installed.
    """
    check_installed()
    refuse_ensemble(folder, "the model", "a graph is made of one model")
    predictor = Predictor.open(folder)
    classifier = predictor.model
    if not isinstance(classifier, EmotionClassifier):
        raise ModelError(f"{folder} holds a baseline, a pipeline of scikit-learn: only networks are exported to ONNX")
    expected = np.concatenate([predictor.probabilities_of([wave]) for wave in _clips()])
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target, prefix=".") as place:
        made = Path(place)
        _write_graph(classifier.cpu(), made / GRAPH)
        worst = _worst_difference(classifier, made / GRAPH, expected)
        if not worst <= TOLERANCE:
            raise ModelError(f"the graph differs from the model by {worst:.1e} in a probability, expected at most {TOLERANCE:g}")
        for name in COPIED:
            if (folder / name).is_file():
                shutil.copy2(folder / name, made / name)
        contract = json.dumps(_contract(predictor, classifier), indent=2) + "\n"
        (target / CONTRACT).unlink(missing_ok=True)  # that of another model must not stand beside this graph
        for file in made.iterdir():
            file.replace(target / file.name)
        write_text(target / CONTRACT, contract)
    return worst


def _takes_mask(classifier: EmotionClassifier) -> bool:
    """Say whether clips of a batch may differ in length; Whisper's are all filled up to one."""
    return classifier.attention_mask and not _is_of_one_length(classifier)


def _takes_batches(classifier: EmotionClassifier) -> bool:
    """Say whether the graph takes several clips at once; without a mask, padding would move the answers."""
    return _takes_mask(classifier) or _is_of_one_length(classifier)


def _is_of_one_length(classifier: EmotionClassifier) -> bool:
    return classifier.family.max_seconds(classifier.config) is not None


def _inputs_of(classifier: EmotionClassifier, waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Return a batch as the graph takes it."""
    batch = collate([(i, classifier.prepare(wave)) for i, wave in enumerate(waves)])
    inputs = {classifier.extractor.model_input_names[0]: batch.values}
    if _takes_mask(classifier):
        inputs["attention_mask"] = (torch.arange(batch.values.shape[1]) < batch.lengths_B[:, None]).long()
    return inputs


def _write_graph(classifier: EmotionClassifier, file: Path) -> None:
    takes_batches = _takes_batches(classifier)
    inputs = _inputs_of(classifier, _clips()[2:] if takes_batches else _clips()[2:3])
    axes: dict[int, Any] = {0: Dim("clips")} if takes_batches else {}
    if not _is_of_one_length(classifier):
        axes[1] = Dim("values", min=classifier.family.min_values(classifier.config))
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Graph(classifier).eval(),
                tuple(inputs.values()),
                file,
                input_names=list(inputs),
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=tuple(axes for _ in inputs),
                verbose=False,
            )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _worst_difference(classifier: EmotionClassifier, file: Path, expected: np.ndarray) -> float:
    """Return the largest difference between the graph's probabilities, of clips alone and as one batch, and those expected."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    waves = _clips()
    alone = np.concatenate([_answer(session, classifier, [wave]) for wave in waves])
    answers = [alone]
    if _takes_batches(classifier):
        answers.append(_answer(session, classifier, waves))
    return max(float(np.abs(answer - expected).max()) for answer in answers)


def _answer(session: "InferenceSession", classifier: EmotionClassifier, waves: Sequence[np.ndarray]) -> np.ndarray:
    inputs = {name: tensor.numpy() for name, tensor in _inputs_of(classifier, waves).items()}
    probabilities: np.ndarray = softmax(session.run(["logits"], inputs)[0].astype(np.float64), axis=1)
    return probabilities


def _clips() -> list[np.ndarray]:
    """Return noise at the level of speech, int16."""
    random = rng(0, "onnx")
    return [(0.1 * FULL_SCALE * random.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.int16) for seconds in CHECKED_SECONDS]


def _contract(predictor: Predictor, classifier: EmotionClassifier) -> dict[str, object]:
    """Return the contract of the model folder, and what the graph takes and gives."""
    clips = "clips" if _takes_batches(classifier) else "one clip"
    inputs = _inputs_of(classifier, _clips()[:1])
    values, *mask = inputs
    described = {values: f"float32, {clips} x {classifier.family.layout}"}
    if mask:
        described[mask[0]] = f"int64, {clips} x {classifier.family.layout.partition(' x ')[0]}: 1, or 0 where a clip was filled up"
    return {
        **preprocessing_of(classifier),
        **asdict(predictor.terms),
        "graph": {
            "file": GRAPH,
            "weights": WEIGHTS,
            "opset": OPSET,
            "inputs": described,
            "output": f"logits: float32, {clips} x emotions in the order of `emotions`; their softmax is the answer",
            "min_samples": classifier.min_samples,
        },
    }
