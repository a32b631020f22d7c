"""Standardised features: by the training clips, which the saved head holds itself, or by speaker."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification

from ser_mlops.training.caches import Features
from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import EvaluationRecipe, predict_logits
from ser_mlops.training.feature_norm import by_corpus, by_speaker, standardise
from tests.models.builders import padded, write_checkpoint
from tests.training.builders import Setup, make_setup

HERE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module", params=["tiny", "weighted layers"])
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("features")
    model = "tiny" if request.param == "tiny" else str(write_checkpoint(folder / "model", "HuB-ER"))
    setup = make_setup(folder, model=model)
    setup.features = setup.cache("encoder")
    return setup


def _values(features: Features, clips: object) -> np.ndarray:
    return np.stack([features.get(corpus, int(start)) for corpus, start in zip(clips.corpora, clips.starts, strict=True)])  # type: ignore[attr-defined]


def test_the_training_clips_have_mean_zero_and_spread_one_in_every_layer_and_number(setup: Setup) -> None:
    assert setup.features is not None
    values_NLH = _values(by_corpus(setup.features, setup.train), setup.train).astype(np.float64)  # type: ignore[arg-type]
    assert values_NLH.mean(axis=0) == pytest.approx(0, abs=1e-5)
    variance_LH = values_NLH.var(axis=0)
    assert variance_LH.mean(axis=1) == pytest.approx(1, abs=0.5)
    if len(variance_LH) == 1:
        assert variance_LH == pytest.approx(1, abs=1e-4)


def test_the_clips_of_each_speaker_have_mean_zero_and_spread_one(setup: Setup) -> None:
    assert setup.features is not None
    standard = by_speaker(setup.features, setup.train)
    for speaker in set(setup.train.speakers):
        own = setup.train.take(np.flatnonzero(setup.train.speakers == speaker))
        values_NLH = _values(standard, own).astype(np.float64)  # type: ignore[arg-type]
        assert values_NLH.mean(axis=0) == pytest.approx(0, abs=1e-5)
        assert values_NLH.std(axis=0) == pytest.approx(1, abs=1e-4)


def test_a_speaker_with_one_clip_becomes_all_zeros(setup: Setup) -> None:
    assert setup.features is not None
    one = setup.train.take(np.array([0]))
    assert not _values(by_speaker(setup.features, one), one).any()  # type: ignore[arg-type]


def test_the_trained_head_gives_the_same_logits_for_outputs_as_they_are(setup: Setup) -> None:
    """Validation was scored on standardised outputs, before the constants went into the head; plain transformers agrees, too."""
    fitted = setup.fit("corpus", freeze="encoder", feature_norm="corpus", epochs=3, lr=1e-2)
    assert fitted.history[0]["train/loss"] != setup.fit("none", freeze="encoder", epochs=1, lr=1e-2).history[0]["train/loss"]
    evaluation = EvaluationRecipe(batch_size=4)
    cached = predict_logits(fitted.classifier, setup.validation, evaluation, setup.features, HERE)
    computed = predict_logits(fitted.classifier, setup.validation, evaluation, None, HERE)
    np.testing.assert_allclose(cached, computed, atol=1e-4)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(cached), torch.from_numpy(setup.validation.labels)).item()
    assert loss == pytest.approx(fitted.best_scores["loss"], abs=1e-4)

    fitted.classifier.save(setup.folder / "saved")
    plain = AutoModelForAudioClassification.from_pretrained(setup.folder / "saved").eval()
    values_BS, _ = padded(fitted.classifier, [setup.validation.wave(0)])
    with torch.inference_mode():
        logits = plain(values_BS, attention_mask=torch.ones_like(values_BS, dtype=torch.long)).logits
    np.testing.assert_allclose(logits[0].numpy(), computed[0], atol=1e-4)


@pytest.mark.parametrize("norm", ["corpus", "speaker"])
def test_a_round_over_standardised_features_resumes_bit_for_bit(setup: Setup, norm: str) -> None:
    changes = {"freeze": "encoder", "feature_norm": norm, "lr": 1e-2}
    whole = setup.fit(f"whole {norm}", epochs=3, **changes)
    again = setup.fit(f"whole {norm}", epochs=3, **changes)
    assert [value.tobytes() for value in _weights(again)] == [value.tobytes() for value in _weights(whole)]


def _weights(fitted: object) -> list[np.ndarray]:
    return [weight.detach().numpy() for weight in fitted.classifier.parameters()]  # type: ignore[attr-defined]


def test_sides_of_a_speaker_are_standardised_each_by_itself_and_none_changes_nothing(setup: Setup) -> None:
    features = setup.features
    assert standardise(features, "none", setup.train, setup.validation) == (features, features)
    train, validation = standardise(features, "speaker", setup.train, setup.validation)
    assert train is not None
    assert validation is not None
    assert features is not None
    assert _values(validation, setup.validation) == pytest.approx(_values(by_speaker(features, setup.validation), setup.validation))  # type: ignore[arg-type]
    others = replace(setup.validation, speakers=np.full(len(setup.validation), "TOY/9", dtype=object))
    assert _values(by_speaker(features, others), others) != pytest.approx(_values(validation, setup.validation))  # type: ignore[arg-type]
