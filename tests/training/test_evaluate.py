"""Evaluation: every clip once, in its place, whatever the batches, the windows or the caches."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_mlops.errors import TrainingError
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training import inputs
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import Evaluation, predict_logits, refuse_unheard, resolve_precision
from ser_mlops.training.recipe import EvaluationRecipe
from tests.models.contract import write_family
from tests.training.builders import make_clips, make_setup

CPU = World(0, 1, torch.device("cpu"))


def _predict(classifier: EmotionClassifier, clips: Clips, features: Features | None = None, workers: int = 0, **changes: Any) -> np.ndarray:
    return predict_logits(classifier, clips, EvaluationRecipe(**{"batch_size": 4, **changes}), features, CPU, workers)


def _alone(classifier: EmotionClassifier, wave: np.ndarray) -> np.ndarray:
    """Predict one wave by itself: the slow, obvious version."""
    values = torch.from_numpy(classifier.prepare(wave))[None]
    with torch.no_grad():
        return classifier.eval()(values, torch.tensor([len(wave)]))[0].numpy()


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_each_clip_gets_the_logits_it_has_alone_in_the_order_of_the_clips(tmp_path: Path, batch_size: int) -> None:
    clips, classifier = make_clips(tmp_path, 11), load_classifier("tiny", seed=1)
    expected = np.stack([_alone(classifier, clips.wave(i)) for i in range(len(clips))])
    predicted = _predict(classifier, clips, batch_size=batch_size)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


def test_without_mask_clips_go_one_at_a_time(tmp_path: Path) -> None:
    clips, classifier = make_clips(tmp_path, 5), load_classifier("tiny", seed=1, attention_mask=False)
    expected = np.stack([_alone(classifier, clips.wave(i)) for i in range(len(clips))])
    np.testing.assert_allclose(_predict(classifier, clips, batch_size=4), expected, atol=1e-6)


def test_the_logits_of_a_long_clip_are_the_mean_of_its_windows(tmp_path: Path) -> None:
    clips, classifier = make_clips(tmp_path, 6), load_classifier("tiny", seed=1)
    predicted = _predict(classifier, clips, max_samples=3000, evaluate_long="windows")
    for i in range(len(clips)):
        number = -(-int(clips.num_samples[i]) // 3000)
        edges = [position * int(clips.num_samples[i]) // number for position in range(number + 1)]
        windows = [_alone(classifier, clips.wave(i)[first:end]) for first, end in pairwise(edges)]
        np.testing.assert_allclose(predicted[i], np.mean(windows, axis=0), atol=1e-5)
    np.testing.assert_array_equal(_predict(classifier, clips, max_samples=3000), _predict(classifier, clips))


@pytest.mark.parametrize("mode", ["feature_encoder", "encoder"])
def test_cached_outputs_give_the_logits_of_the_waveforms(tmp_path: Path, mode: str) -> None:
    setup = make_setup(tmp_path)
    classifier = load_classifier("tiny", seed=1)
    live = _predict(classifier, setup.validation)
    np.testing.assert_allclose(_predict(classifier, setup.validation, features=setup.cache(mode)), live, atol=1e-5)


def test_outputs_too_large_for_memory_are_evaluated_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, classifier = make_setup(tmp_path), load_classifier("tiny", seed=1)
    features = setup.cache("encoder")
    together = _predict(classifier, setup.validation, features=features)
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", 0)
    evaluation = Evaluation(classifier, setup.validation, EvaluationRecipe(4), features, CPU)
    assert max(map(len, evaluation.plan)) == 4
    np.testing.assert_allclose(evaluation.logits(classifier), together, atol=1e-6)


def test_workers_change_no_logit(tmp_path: Path) -> None:
    clips, classifier = make_clips(tmp_path, 9), load_classifier("tiny", seed=1)
    np.testing.assert_array_equal(_predict(classifier, clips, workers=2), _predict(classifier, clips))


def test_logits_that_are_not_finite_name_the_clip(tmp_path: Path) -> None:
    clips, classifier = make_clips(tmp_path, 3), load_classifier("tiny", seed=1)
    with torch.no_grad():
        classifier.net.classifier.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"logits of TOY/000\.wav are not finite \(3 of 3 clips\)"):
        _predict(classifier, clips)


def test_auto_precision_is_float32_on_a_cpu_and_what_was_asked_for_otherwise() -> None:
    assert resolve_precision("auto", torch.device("cpu")) == "float32"
    assert resolve_precision("bfloat16", torch.device("cpu")) == "bfloat16"


def test_a_clip_of_which_the_model_hears_the_beginning_alone_is_refused(tmp_path: Path) -> None:
    """Whisper cuts what is longer than its window off (30 s; 1 s in this small one)."""
    clips = make_clips(tmp_path / "audio", 2, seconds=(1.1, 1.4))
    classifier = load_classifier(str(write_family(tmp_path / "whisper", "whisper")), seed=1)
    longest = clips.num_samples.max() / 16000
    refusal = rf"has {longest:.1f} s, of which whisper hears 1 \(2 such\): set max_seconds=1 and evaluate_long=windows"
    with pytest.raises(TrainingError, match=refusal):
        _predict(classifier, clips)
    with pytest.raises(TrainingError, match="of which whisper hears 1"):
        refuse_unheard(classifier, clips, max_samples=16001)
    refuse_unheard(classifier, clips, max_samples=16000)
    assert np.isfinite(_predict(classifier, clips, max_samples=16000, evaluate_long="windows")).all()
