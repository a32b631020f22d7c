"""Predictions do not depend on padding, frozen parts stay as they are, and plain transformers agrees."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softmax
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from ser_mlops.errors import SettingsError, TrainingError
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from tests.models.builders import ARCHITECTURES, padded, some_waves, write_checkpoint

LENGTHS = (16000, 4321, 9999, 400, 15999, 100)
MODELS = ("tiny", *ARCHITECTURES)
MODES = ("none", "feature_encoder", "encoder:1", "encoder")
BELOW_LAYER_1 = ("feature_extractor.", "feature_projection.", "encoder.pos_conv_embed.", "encoder.dropout.", "encoder.layers.0.")
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop", "mask_time_prob")
WITHOUT_DROPOUT = dict.fromkeys(DROPOUTS, 0.0)


@pytest.fixture(params=MODELS)
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> EmotionClassifier:
    return load(request.param, tmp_path)


def load(model: str, folder: Path, attention_mask: bool = True, **changes: object) -> EmotionClassifier:
    source = model if model == "tiny" else str(write_checkpoint(folder, model, **changes))
    classifier = load_classifier(source, seed=1, attention_mask=attention_mask)
    with torch.no_grad():
        classifier.net.classifier.weight.mul_(50)  # logits of the size that trained heads give
        if classifier.weighs_layers:
            classifier.net.layer_weights.copy_(torch.linspace(-1, 1, len(classifier.net.layer_weights)))
    return classifier


def probabilities(classifier: EmotionClassifier, waves: list[np.ndarray]) -> torch.Tensor:
    with torch.inference_mode():
        return softmax(classifier(*padded(classifier, waves)), dim=1)


def test_padded_is_alone(classifier: EmotionClassifier) -> None:
    waves = some_waves(*LENGTHS)
    alone = torch.cat([probabilities(classifier, [wave]) for wave in waves])
    assert alone.std(dim=0).max() > 1e-3
    assert torch.allclose(probabilities(classifier, waves), alone, rtol=0, atol=1e-5)
    assert torch.allclose(probabilities(classifier, waves[:2]), alone[:2], rtol=0, atol=1e-5)


def test_a_whole_batch_through_the_cnn_as_on_a_gpu_is_its_clips_one_at_a_time(classifier: EmotionClassifier) -> None:
    values_BS, lengths_B = padded(classifier, some_waves(*(max(length, classifier.min_samples) for length in LENGTHS)))
    with torch.inference_mode():
        one_at_a_time_BTC, steps_B = classifier.cnn(values_BS, lengths_B)
        together_BTC = classifier._cnn(values_BS, lengths_B)
    assert together_BTC.shape == one_at_a_time_BTC.shape
    for together_TC, alone_TC, steps in zip(together_BTC, one_at_a_time_BTC, steps_B.tolist(), strict=True):
        assert torch.allclose(together_TC[:steps], alone_TC[:steps], rtol=0, atol=1e-5)
        assert not alone_TC[steps:].any()


def test_gradients_of_a_padded_batch_are_those_of_its_clips(classifier: EmotionClassifier) -> None:
    waves, labels = some_waves(8000, 5000), torch.tensor([1, 4])
    gradients = []
    for batches in ([[0, 1]], [[0], [1]]):
        classifier.zero_grad()
        for batch in batches:
            logits_BE = classifier(*padded(classifier, [waves[i] for i in batch]))
            cross_entropy(logits_BE, labels[batch], reduction="sum").backward()
        gradients.append({name: weight.grad for name, weight in classifier.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-5 * largest), name


def test_plain_transformers_gives_the_same_for_one_clip(classifier: EmotionClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "saved")
    plain = AutoModelForAudioClassification.from_pretrained(tmp_path / "saved")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "saved")
    for wave in some_waves(9000, 16000):
        batch = extractor([wave.astype(np.float32) / 32768], sampling_rate=16000, return_tensors="pt")
        assert torch.equal(batch["input_values"], padded(classifier, [wave])[0])
        with torch.inference_mode():
            assert torch.allclose(softmax(plain(**batch).logits, dim=1), probabilities(classifier, [wave]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["W2V2-base", "HuB-ER", "HuB-LL"])
def test_without_attention_mask_it_is_the_legacy_way(tmp_path: Path, model: str) -> None:
    classifier = load(model, tmp_path, attention_mask=False)
    waves = some_waves(9000, 5000)
    values_BS, lengths_B = padded(classifier, waves)
    with torch.inference_mode():
        assert torch.allclose(classifier(values_BS, lengths_B), classifier.net(values_BS).logits, rtol=0, atol=1e-5)
    assert not torch.allclose(probabilities(classifier, waves)[1:], probabilities(classifier, waves[1:]), rtol=0, atol=1e-4)


def test_the_stages_are_the_same_computation(classifier: EmotionClassifier) -> None:
    values_BS, lengths_B = padded(classifier, some_waves(*LENGTHS))
    with torch.inference_mode():
        hidden_BTC, steps_B = classifier.cnn(values_BS, lengths_B)
        pooled_BLH = classifier.pooled(hidden_BTC, steps_B)
        logits_BE = classifier(values_BS, lengths_B)
        assert torch.equal(classifier(hidden_BTC, steps_B, "cnn"), logits_BE)
        assert torch.equal(classifier(pooled_BLH, steps_B, "pooled"), logits_BE)
    assert pooled_BLH.shape[1:] == classifier.cached_shape("encoder")
    assert hidden_BTC.shape[2:] == classifier.cached_shape("feature_encoder")
    assert torch.equal(classifier.num_steps(lengths_B), steps_B)
    assert steps_B.min() == 1
    assert steps_B.max() == hidden_BTC.shape[1]


def test_preparing_is_what_the_feature_extractor_does(tmp_path: Path) -> None:
    classifier = load_classifier("tiny", seed=1)
    for does_normalize in (True, False):
        classifier.extractor.do_normalize = does_normalize
        for wave in [*some_waves(16000, 1601), np.zeros(1600, np.int16)]:
            theirs = classifier.extractor(wave.astype(np.float32) / 32768, sampling_rate=16000)["input_values"][0]
            ours = classifier.prepare(wave)
            assert ours.dtype == np.float32
            assert np.array_equal(ours, theirs)
            assert np.array_equal(classifier.prepare(wave.astype(np.float32) / 32768), ours)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_clips_shorter_than_a_specaugment_mask_train(tmp_path: Path, model: str) -> None:
    changes = {"mask_time_prob": 0.5, "mask_time_length": 10, "mask_time_min_masks": 2, "mask_feature_prob": 0.3, "layerdrop": 0.5}
    classifier = load(model, tmp_path, **changes).train()
    for lengths in ((1600, 400), (100,), (80 * 9, 80 * 11), (16000, 160)):
        classifier(*padded(classifier, some_waves(*lengths))).sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in classifier.parameters() if weight.grad is not None)


def test_specaugment_is_at_work_in_training_and_only_there(tmp_path: Path) -> None:
    classifier = load("HuB-LL", tmp_path, **WITHOUT_DROPOUT | {"mask_time_prob": 0.5})
    batch = padded(classifier, some_waves(16000, 12000))
    with torch.no_grad():
        assert not torch.equal(classifier.train()(*batch), classifier(*batch))
        assert torch.equal(classifier.eval()(*batch), classifier(*batch))


@pytest.mark.parametrize("model", ["HuB-ER", "W2V2-base"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_frozen_stays_in_eval_mode_without_gradient(tmp_path: Path, model: str, mode: str) -> None:
    classifier = load(model, tmp_path)
    classifier.train()
    classifier.freeze(mode)
    classifier.eval()
    assert classifier.train() is classifier
    base = f"net.{classifier.net.base_model_prefix}."
    norm = () if classifier.config.do_stable_layer_norm else ("encoder.layer_norm.",)
    below = tuple(f"{base}{part}" for part in (*BELOW_LAYER_1, *norm, "masked_spec_embed"))
    frozen = {"none": "-", "feature_encoder": f"{base}feature_extractor.", "encoder:1": below, "encoder": base}[mode]
    for name, weight in classifier.named_parameters():
        assert weight.requires_grad != name.startswith(frozen), name
    for name, module in classifier.named_modules():
        assert module.training != f"{name}.".startswith(frozen), name
    trainable, total = classifier.num_parameters()[0], sum(weight.numel() for weight in classifier.parameters())
    assert trainable == sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
    assert sum(classifier.num_parameters()) == total
    assert not any(module.training for module in classifier.eval().modules())


@pytest.mark.parametrize("mode", MODES)
def test_a_step_moves_only_what_is_not_frozen(tmp_path: Path, mode: str) -> None:
    classifier = load("HuB-ER", tmp_path)
    classifier.freeze(mode)
    before = {name: weight.clone() for name, weight in classifier.state_dict().items()}
    optimizer = torch.optim.AdamW([weight for weight in classifier.parameters() if weight.requires_grad], lr=0.01)
    classifier.train()
    classifier(*padded(classifier, some_waves(8000, 6000))).sum().backward()
    optimizer.step()
    moved = {name for name, weight in classifier.state_dict().items() if not torch.equal(weight, before[name])}
    frozen: dict[str, str | tuple[str, ...]] = {"none": "-", "feature_encoder": "net.hubert.feature_extractor", "encoder": "net.hubert."}
    frozen["encoder:1"] = tuple(f"net.hubert.{part}" for part in BELOW_LAYER_1)
    assert moved
    assert not any(name.startswith(frozen[mode]) for name in moved)
    assert {name.split(".")[1] for name in moved} >= {"classifier", "projector", "layer_weights"}


def test_with_frozen_layers_it_is_the_same_computation_padded_or_alone(classifier: EmotionClassifier) -> None:
    waves = some_waves(*LENGTHS)
    with torch.inference_mode():
        whole = classifier(*padded(classifier, waves))
        for depth in range(1, len(classifier.base.encoder.layers)):
            classifier.freeze(f"encoder:{depth}")
            assert torch.allclose(classifier(*padded(classifier, waves)), whole, rtol=0, atol=1e-5)
            alone = torch.cat([classifier(*padded(classifier, [wave])) for wave in waves])
            assert torch.allclose(alone, whole, rtol=0, atol=2e-5)


def test_frozen_layers_in_training_give_the_same_twice_and_the_others_are_dropped_or_not(tmp_path: Path) -> None:
    changes = {"hidden_dropout": 0.3, "attention_dropout": 0.3, "feat_proj_dropout": 0.3, "layerdrop": 0.5, "mask_time_prob": 0.5}
    classifier = load("W2V2-base", tmp_path, **changes)
    classifier.freeze("encoder:1")
    classifier.train()
    hidden_BTC, steps_B = classifier.cnn(*padded(classifier, some_waves(16000, 9000)))
    lower = [classifier.lower(hidden_BTC, steps_B, 1)[0] for _ in range(2)]
    assert torch.equal(*lower)
    assert not lower[0].requires_grad
    assert len({classifier(hidden_BTC, steps_B, "cnn").sum().item() for _ in range(4)}) == 4


@pytest.mark.parametrize("mode", ["encoder:3", "encoder:12"])
def test_more_layers_than_there_are_cannot_be_frozen(tmp_path: Path, mode: str) -> None:
    with pytest.raises(SettingsError, match=rf"freeze={mode}: the model has 3 layers, expected encoder:1 to encoder:2, or"):
        load("HuB-LL", tmp_path).freeze(mode)


def test_a_frozen_encoder_in_training_gives_the_same_twice_and_keeps_no_graph(tmp_path: Path) -> None:
    classifier = load("HuB-LL", tmp_path, mask_time_prob=0.5)
    classifier.freeze("encoder")
    classifier.train()
    values_BS, lengths_B = padded(classifier, some_waves(16000, 9000))
    assert torch.equal(classifier(values_BS, lengths_B), classifier(values_BS, lengths_B))
    hidden_BTC, steps_B = classifier.cnn(values_BS, lengths_B)
    assert not hidden_BTC.requires_grad
    assert not classifier.pooled(hidden_BTC, steps_B).requires_grad
    assert classifier(values_BS, lengths_B).requires_grad


def test_freezing_can_be_taken_back(tmp_path: Path) -> None:
    classifier = load("HuB-LL", tmp_path)
    classifier.freeze("encoder")
    classifier.freeze("feature_encoder")
    classifier.train()
    assert classifier.base.encoder.training
    assert classifier.base.encoder.layer_norm.weight.requires_grad
    classifier.freeze("none")
    assert all(weight.requires_grad for weight in classifier.parameters())
    with pytest.raises(SettingsError, match="unknown freeze 'all', expected one of: none, feature_encoder, encoder"):
        classifier.freeze("all")


@pytest.mark.parametrize("model", ["HuB-ER", "W2V2-base"])
def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path, model: str) -> None:
    classifier = load(model, tmp_path, **WITHOUT_DROPOUT).train()
    batch = padded(classifier, some_waves(8000, 6000))
    gradients = []
    for does_checkpoint in (False, True):
        classifier.zero_grad()
        if does_checkpoint:
            classifier.net.gradient_checkpointing_enable({"use_reentrant": False})
        classifier(*batch).sum().backward()
        gradients.append([weight.grad.clone() for weight in classifier.parameters() if weight.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(*gradients, strict=True))


def test_bfloat16_agrees_within_its_tolerance(classifier: EmotionClassifier) -> None:
    values_BS, lengths_B = padded(classifier, some_waves(*LENGTHS))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rough_BE = classifier(values_BS, lengths_B)
    assert rough_BE.dtype == torch.float32
    with torch.inference_mode():
        assert torch.allclose(rough_BE, classifier(values_BS, lengths_B), rtol=0, atol=2e-2)


def test_a_disk_that_does_not_take_a_model_is_named(tmp_path: Path) -> None:
    """A limit on the size of files stops the writing half-way, as a full disk does."""
    classifier = load_classifier("tiny", seed=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(TrainingError, match=r"^cannot save the model in .*/model \(.*File too large.*\): make room there$"):
            classifier.save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
