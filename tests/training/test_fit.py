"""A round: deterministic, equal however it is batched or cached, and ended with a plain message when it cannot continue."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import TrainingError
from ser_mlops.models.build import load_classifier, open_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.scores.metrics import score
from ser_mlops.training import checkpoints, inputs
from ser_mlops.training.distributed import World
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.features import open_features
from ser_mlops.training.groups import parameter_groups
from tests.models.builders import write_checkpoint
from tests.training.builders import make_noisy_model, make_setup, recipe, weights_of, without_time


def test_the_same_call_gives_the_same_numbers_whatever_ran_before(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, model=make_noisy_model(tmp_path / "model"))
    first = setup.fit("first", augment=("speed", "noise"))
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    second = setup.fit("second", augment=("speed", "noise"))
    assert without_time(first.history) == without_time(second.history)
    assert weights_of(first) == weights_of(second)


def test_workers_change_no_number(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    recipe = {"augment": ("speed", "noise", "gain"), "max_seconds": 0.3, "epochs": 1}
    assert without_time(setup.fit("alone", **recipe).history) == without_time(setup.fit("helped", workers=2, **recipe).history)


def test_rounds_differ_in_their_heads_and_orders(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    first = setup.fit("0", epochs=1)
    setup.round = 1
    assert without_time(setup.fit("1", epochs=1).history) != without_time(first.history)


def test_a_round_learns_what_is_easy_and_keeps_its_best_epoch(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.features = setup.cache("encoder")
    fitted = setup.fit(freeze="encoder", epochs=12, lr=0.01, select_by="loss")
    losses = [metrics["val/loss"] for metrics in fitted.history]
    assert fitted.best_epoch == int(np.argmin(losses)) + 1
    assert fitted.best_scores["loss"] == min(losses)
    assert fitted.best_scores["uar"] == 1
    assert setup.recorded.epochs == dict(enumerate(fitted.history, start=1))


def test_the_fitted_model_is_that_of_the_best_epoch_and_opens_from_its_folder(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    fitted = setup.fit(epochs=3)
    assert fitted.best_epoch < 3, "the test needs a round whose last epoch is not its best"
    best = setup.fit("short", epochs=fitted.best_epoch)
    assert weights_of(fitted) == weights_of(best)
    fitted.classifier.save(tmp_path / "saved")
    opened = open_classifier(tmp_path / "saved")
    assert opened.config.id2label == dict(enumerate(EMOTIONS))
    assert {name: weight.numpy().tobytes() for name, weight in opened.state_dict().items()} == weights_of(fitted)


def test_two_batches_accumulated_are_one_of_twice_the_size(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, num_train=11)
    for extra in ({}, {"class_weights": "balanced", "label_smoothing": 0.1, "clip_norm": 0.5}):
        # one batch per step either way: the plan of batches of 2 is not that of batches of 4
        whole = setup.fit(f"whole{len(extra)}", batch_size=11, epochs=2, **extra)
        parts = setup.fit(f"parts{len(extra)}", batch_size=2, accumulate=6, epochs=2, **extra)
        for one, other in zip(without_time(whole.history), without_time(parts.history), strict=True):
            assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("freeze", ["feature_encoder", "encoder:1"])
def test_a_round_with_adapters_is_the_same_over_cached_outputs_and_saves_adapters_and_head_alone(tmp_path: Path, freeze: str) -> None:
    setup = make_setup(tmp_path, model=make_noisy_model(tmp_path / "model"))
    changes = {"freeze": freeze, "adapter": "lora", "lora_dropout": 0.2, "lora_targets": ("query", "feed_forward"), "lr": 1e-2}
    live = setup.fit("live", **changes)
    setup.features = setup.cache(freeze)
    cached = setup.fit("cached", **changes)
    for one, other in zip(without_time(live.history), without_time(cached.history), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    (best,) = (tmp_path / "cached").glob("best-*.safetensors")
    with safe_open(best, "pt") as file:
        assert all(".lora_" in name or name.split(".")[1] in ("projector", "classifier") for name in file.keys())  # noqa: SIM118
        assert len(list(file.keys())) > 4
    assert cached.num_trainable < cached.num_frozen
    evaluation = recipe(**changes).evaluation
    logits = predict_logits(cached.classifier, setup.validation, evaluation, setup.features, World(0, 1, torch.device("cpu")))
    assert score(logits, setup.validation.labels, {0, 1, 2})["loss"] == pytest.approx(cached.best_scores["loss"], abs=1e-4)


@pytest.mark.parametrize("mode", ["feature_encoder", "encoder:1", "encoder"])
def test_a_round_over_cached_outputs_is_the_round_over_waveforms(tmp_path: Path, mode: str) -> None:
    setup = make_setup(tmp_path, model=make_noisy_model(tmp_path / "model"))
    live = setup.fit("live", freeze=mode)
    setup.features = setup.cache(mode)
    cached = setup.fit("cached", freeze=mode)
    for one, other in zip(without_time(live.history), without_time(cached.history), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert (live.num_trainable, live.num_frozen) == (cached.num_trainable, cached.num_frozen)
    fresh = load_classifier(setup.model, seed=5)
    frozen = [name for name, parameter in live.classifier.named_parameters() if not parameter.requires_grad]
    assert len(frozen) > 5
    assert all(torch.equal(cached.classifier.state_dict()[name], fresh.state_dict()[name]) for name in frozen)


def test_a_cache_too_large_for_memory_is_read_batch_by_batch_with_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path)
    setup.features = setup.cache("encoder")
    kept = setup.fit("kept", freeze="encoder")
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", 0)
    read = setup.fit("read", freeze="encoder")
    assert [epoch["train/loss"] for epoch in read.history] == [epoch["train/loss"] for epoch in kept.history]
    assert weights_of(read) == weights_of(kept)
    for one, other in zip(without_time(read.history), without_time(kept.history), strict=True):
        assert one == pytest.approx(other, abs=1e-6)  # validation goes in batches, too, instead of all at once


def test_a_head_over_cached_outputs_comes_out_the_same_in_any_number_of_threads(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.features = setup.cache("encoder")
    alone = setup.fit("one", freeze="encoder", epochs=2)
    torch.set_num_threads(2)
    try:
        shared = setup.fit("two", freeze="encoder", epochs=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert without_time(shared.history) == without_time(alone.history)


def test_decay_spares_biases_norms_and_layer_weights_where_the_setting_says_so(tmp_path: Path) -> None:
    classifier = load_classifier(str(write_checkpoint(tmp_path / "model", "HuB-ER")), seed=1)
    name_of = {parameter: name for name, parameter in classifier.named_parameters()}
    named = dict(classifier.named_parameters())
    assert parameter_groups(classifier, named, recipe(weight_decay=0.1)) == [
        {"params": list(name_of), "lr": 1e-3, "peak": 1e-3, "weight_decay": 0.1}
    ]
    spared, decaying = parameter_groups(classifier, named, recipe(weight_decay=0.1, decay_all=False))
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    names = {name_of[parameter] for parameter in spared["params"]}
    endings = ("bias", "layer_norm.weight", "layer_weights", "original0", "spec_embed")
    assert names == {name for name in name_of.values() if name.endswith(endings)}
    assert names | {name_of[parameter] for parameter in decaying["params"]} == {*name_of.values()}


def test_the_head_has_its_own_learning_rate_and_each_layer_a_share_of_that_of_the_one_above(tmp_path: Path) -> None:
    classifier = load_classifier(str(write_checkpoint(tmp_path / "model", "HuB-ER")), seed=1)
    named = dict(classifier.named_parameters())
    name_of = {parameter: name for name, parameter in named.items()}
    groups = parameter_groups(classifier, named, recipe(lr=1e-3, head_lr=1e-2, layer_decay=0.5))
    peaks = {name_of[parameter]: group["peak"] for group in groups for parameter in group["params"]}
    assert peaks.keys() == named.keys()
    layer = "net.hubert.encoder.layers.{}.attention.k_proj.weight"
    assert [peaks[layer.format(number)] for number in range(3)] == [2.5e-4, 5e-4, 1e-3]
    lowest = ("feature_extractor.conv_layers.0.conv.weight", "feature_projection.projection.bias", "encoder.pos_conv_embed.conv.bias")
    assert {peaks[f"net.hubert.{name}"] for name in lowest} == {1.25e-4}
    assert peaks["net.hubert.encoder.layer_norm.weight"] == 1e-3, "it stands after the last layer"
    assert {peaks[name] for name in ("net.layer_weights", "net.projector.bias", "net.classifier.weight")} == {1e-2}


def test_learning_rates_of_their_own_follow_the_schedule_and_move_what_they_are_of(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    plain = setup.fit("plain", epochs=1)
    own = setup.fit("own", epochs=1, head_lr=1e-2, schedule="linear")
    (epoch,) = own.history
    assert epoch["head_lr"] == pytest.approx(10 * epoch["lr"])
    assert "head_lr" not in plain.history[0]
    assert setup.fit("same", epochs=1, head_lr=1e-3).history[0]["train/loss"] == plain.history[0]["train/loss"]
    assert own.history[0]["train/loss"] != plain.history[0]["train/loss"]


def test_without_decay_it_makes_no_difference_what_it_spares(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    fits = {
        (decay, decay_all): weights_of(setup.fit(f"{decay}{decay_all}", epochs=1, weight_decay=decay, decay_all=decay_all))
        for decay in (0.0, 1.0)
        for decay_all in (True, False)
    }
    assert fits[0.0, True] == fits[0.0, False]
    assert fits[1.0, True] != fits[1.0, False]


def test_a_checkpoint_of_a_frozen_encoder_holds_the_head_alone(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.features = setup.cache("encoder")
    fitted = setup.fit(freeze="encoder", epochs=1)
    assert (tmp_path / "round" / "best-0001.safetensors").stat().st_size < 4 * fitted.num_trainable + 1000
    assert (tmp_path / "round" / checkpoints.LAST).stat().st_size < 4000


def test_smoothing_and_weights_are_those_of_torch(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    fitted = setup.fit(batch_size=12, epochs=1, lr=1e-9, class_weights="balanced", label_smoothing=0.2)
    features = setup.cache("encoder")
    pooled = np.stack([features.get("TOY", int(start)) for start in setup.train.starts])
    weights = torch.tensor([1.0, 1, 1, 0, 0, 0, 0])
    expected = nn.functional.cross_entropy(
        fitted.classifier.logits(torch.from_numpy(pooled)), torch.from_numpy(setup.train.labels), weights, label_smoothing=0.2
    )
    assert fitted.history[0]["train/loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_early_stopping_ends_after_so_many_epochs_without_a_better_score(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.features = setup.cache("encoder")
    fitted = setup.fit(freeze="encoder", epochs=50, lr=0.05, early_stopping=3)
    assert len(fitted.history) == fitted.best_epoch + 3 < 50
    uars = [metrics["val/uar"] for metrics in fitted.history]
    assert uars.index(max(uars)) + 1 == fitted.best_epoch


def test_gradient_checkpointing_changes_memory_and_no_number(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, model=make_noisy_model(tmp_path / "model"))
    plain, frugal = setup.fit("plain", epochs=1), setup.fit("frugal", epochs=1, gradient_checkpointing=True)
    for one, other in zip(without_time(plain.history), without_time(frugal.history), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_bfloat16_trains_on_a_cpu_too_near_to_float32(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    full, half = setup.fit("full", epochs=1), setup.fit("half", epochs=1, precision="bfloat16")
    assert half.history[0]["train/loss"] != full.history[0]["train/loss"]
    assert half.history[0]["train/loss"] == pytest.approx(full.history[0]["train/loss"], rel=0.02)


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    fitted = setup.fit(epochs=2, lr=0.012, schedule="linear")
    assert [metrics["lr"] for metrics in fitted.history] == pytest.approx([0.012 * 7 / 12, 0.001])


def test_a_loss_that_is_not_finite_names_the_step_and_its_clips_and_is_never_saved(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    with pytest.raises(TrainingError) as caught:
        setup.fit(lr=1e38, checkpoint_every=1)
    message = str(caught.value)
    assert "the loss is nan at step 2 (epoch 1) of round 0, over the clips TOY/" in message
    assert message.count("TOY/") == 2
    assert "lower lr" in message
    state = checkpoints.load_state(tmp_path / "round", _identity_in(tmp_path / "round"))
    assert state is not None
    assert state.step == 1


def _identity_in(folder: Path) -> dict[str, str]:
    import json

    from safetensors import safe_open

    with safe_open(folder / checkpoints.LAST, "pt") as file:
        return json.loads(file.metadata()["identity"])


@pytest.mark.parametrize("method", ["forward", "to"])
def test_running_out_of_memory_ends_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def run_out(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(EmotionClassifier, method, run_out)
    with pytest.raises(TrainingError, match=r"out of memory in round 0 with 2 clips per batch: lower batch_size .*Tried to allocate 2"):
        make_setup(tmp_path).fit()


def test_a_finished_round_is_not_trained_again_but_recorded_again(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    first = setup.fit(epochs=2)
    recorded, setup.recorded = setup.recorded, type(setup.recorded)()
    again = setup.fit(epochs=2)
    assert again.history == first.history
    assert again.best_epoch == first.best_epoch
    assert weights_of(again) == weights_of(first)
    assert setup.recorded.epochs == recorded.epochs


def test_the_legacy_way_without_mask_trains_too(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    with_mask, without = setup.fit("with", epochs=1), setup.fit("without", epochs=1, attention_mask=False)
    assert without_time(with_mask.history) != without_time(without.history)
    assert open_features(without.classifier, "encoder", setup.train.audio, tmp_path / "cache", "float32", "auto", "cpu") is None


def test_a_learned_sum_of_layers_says_after_each_epoch_how_much_it_takes_of_each(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    fitted = setup.fit(layers="all", lr=1e-2)
    shares = [[epoch[f"layer_weight/{layer:02d}"] for layer in range(3)] for epoch in fitted.history]
    assert [sum(epoch) for epoch in shares] == pytest.approx([1.0, 1.0])
    assert shares[1] != pytest.approx([1 / 3] * 3, abs=1e-4)
    assert not any(name.startswith("layer_weight/") for name in setup.fit("last").history[0])
