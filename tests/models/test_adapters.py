"""LoRA: at first nothing changes, adapters and head alone are trained, and what they learnt ends in the weights."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForAudioClassification

from ser_mlops.errors import SettingsError
from ser_mlops.models.adapters import Lora, add_lora, merge_lora
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.families.base import PROJECTIONS
from tests.models.builders import padded, some_waves, write_checkpoint

LORA = Lora(rank=2, alpha=4.0, dropout=0.0, targets=tuple(PROJECTIONS))
WAVES = (9000, 16000, 5000)


@pytest.fixture(scope="module", params=["tiny", "HuB-ER", "W2V2-base"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return "tiny" if request.param == "tiny" else str(write_checkpoint(tmp_path_factory.mktemp("model"), request.param))


def adapted(model: str, freeze: str = "none", seed: int = 1) -> EmotionClassifier:
    classifier = load_classifier(model, seed=1, share_encoder=True)
    classifier.freeze(freeze)
    add_lora(classifier, LORA, seed)
    return classifier


def logits_of(classifier: EmotionClassifier) -> torch.Tensor:
    with torch.inference_mode():
        return classifier.eval()(*padded(classifier, some_waves(*WAVES)))


def take_steps(classifier: EmotionClassifier) -> None:
    optimizer = torch.optim.AdamW([weight for weight in classifier.parameters() if weight.requires_grad], lr=0.05)
    for _ in range(3):
        classifier.train()(*padded(classifier, some_waves(*WAVES)))[:, 1].sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_before_training_the_logits_are_those_without_adapters(model: str) -> None:
    assert torch.allclose(logits_of(adapted(model)), logits_of(load_classifier(model, seed=1)), rtol=0, atol=1e-6)


def test_adapters_are_drawn_from_the_seed_alone_and_the_global_state_stays(model: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (dict(adapted(model, seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    drawn = [name for name in one if ".lora_A." in name]
    assert drawn
    assert all(torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name]) for name in drawn)


def test_masked_steps_are_zero_where_the_checkpoint_has_no_vector_for_them(tmp_path: Path) -> None:
    lacking = write_checkpoint(tmp_path / "lacking", "W2V2-base", drop=("masked_spec_embed",))
    assert not adapted(str(lacking)).base.masked_spec_embed.any()
    assert adapted(str(write_checkpoint(tmp_path / "whole", "W2V2-base"))).base.masked_spec_embed.all(), "a checkpoint's own stays"


def test_adapters_and_head_alone_are_trained_and_the_shared_encoder_stays(model: str) -> None:
    classifier, untouched = adapted(model), load_classifier(model, seed=1, share_encoder=True)
    before = {name: weight.clone() for name, weight in untouched.state_dict().items()}
    trained = {name for name, weight in classifier.named_parameters() if weight.requires_grad}
    assert {".lora_" in name or name.split(".")[1] in ("projector", "classifier", "layer_weights") for name in trained} == {True}
    start = {name: weight.detach().clone() for name, weight in classifier.named_parameters()}
    take_steps(classifier)
    assert {name for name, weight in classifier.named_parameters() if not torch.equal(weight, start[name])} == trained
    merge_lora(classifier)
    assert all(torch.equal(weight, before[name]) for name, weight in untouched.state_dict().items())
    shared = {weight.data_ptr() for weight in untouched.parameters()}
    own = {name for name, weight in classifier.named_parameters() if weight.data_ptr() not in shared}
    assert {".encoder.layers." in name or name in trained for name in own} == {True}


def test_merged_it_gives_the_same_and_plain_transformers_opens_it(model: str, tmp_path: Path) -> None:
    classifier = adapted(model)
    take_steps(classifier)
    trained = logits_of(classifier)
    assert not torch.allclose(trained, logits_of(load_classifier(model, seed=1)), rtol=0, atol=1e-2)
    merge_lora(classifier)
    assert torch.allclose(logits_of(classifier), trained, rtol=0, atol=1e-4)
    assert classifier.state_dict().keys() == load_classifier(model, seed=1).state_dict().keys()
    classifier.save(tmp_path)
    plain = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    values_BS, _ = padded(classifier, some_waves(*WAVES)[:1])
    with torch.inference_mode():
        assert torch.allclose(plain(values_BS).logits[0], trained[0], rtol=0, atol=1e-4)


def test_frozen_layers_get_no_adapter(model: str) -> None:
    names = [name for name, _ in adapted(model, "encoder:1").named_parameters() if ".lora_" in name]
    assert names
    assert not [name for name in names if ".layers.0." in name]


def test_targets_that_a_model_does_not_have_are_refused() -> None:
    classifier = load_classifier("tiny", seed=1)
    classifier.freeze("encoder")
    with pytest.raises(SettingsError, match="lora_targets=query: no layer that is trained has such projections"):
        add_lora(classifier, Lora(2, 4.0, 0.0, ("query",)), 1)
