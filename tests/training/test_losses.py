"""Losses against their papers' formulas, by hand, with gradients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from ser_mlops.seeds import rng
from ser_mlops.training.losses import Loss, mean_cross_entropy
from tests.training.builders import make_setup, recipe, without_time

CPU = torch.device("cpu")
ALL = np.arange(12)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory):
    """Twelve clips of three emotions."""
    return make_setup(tmp_path_factory.mktemp("clips")).train


@pytest.fixture
def heard(clips):
    """The same with the shares of votes as targets."""
    return replace(clips, targets=rng(1, "votes").dirichlet(np.ones(7), 12))


def logits(seed: int = 2) -> np.ndarray:
    return rng(seed, "logits").normal(size=(12, 7))


def loss_and_gradient(settings, clips) -> tuple[float, np.ndarray]:
    given_NE = torch.tensor(logits(), requires_grad=True)
    loss = Loss.of(recipe(**settings), clips, CPU)
    (total := loss(given_NE.float(), ALL)).backward()
    assert given_NE.grad is not None
    return total.item(), given_NE.grad.numpy()


def test_the_loss_towards_votes_and_its_gradient_are_those_of_the_formula(heard) -> None:
    total, gradient_NE = loss_and_gradient({"targets": "soft"}, heard)
    log_p_NE = log_softmax(logits(), axis=1)
    assert total == pytest.approx(-(heard.targets * log_p_NE).sum(), rel=1e-6)
    np.testing.assert_allclose(gradient_NE, np.exp(log_p_NE) - heard.targets, atol=1e-6)


def test_weights_and_smoothing_of_votes_are_those_of_the_docstring(heard) -> None:
    settings = {"targets": "soft", "class_weights": "balanced", "label_smoothing": 0.1}
    loss = Loss.of(recipe(**settings), heard, CPU)
    weights_E = 12 / (7 * heard.targets.sum(axis=0))
    np.testing.assert_allclose(loss.weights_E.numpy(), weights_E, rtol=1e-6)
    shares_NE = 0.9 * heard.targets + 0.1 / 7
    total, gradient_NE = loss_and_gradient(settings, heard)
    weighted_NE, log_p_NE = weights_E * shares_NE, log_softmax(logits(), axis=1)
    assert total == pytest.approx(-(weighted_NE * log_p_NE).sum(), rel=1e-5)
    np.testing.assert_allclose(gradient_NE, np.exp(log_p_NE) * weighted_NE.sum(axis=1, keepdims=True) - weighted_NE, atol=1e-5)
    assert loss.clip_weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("is_soft", [False, True])
def test_the_focal_loss_and_its_gradient_are_those_of_the_paper(clips, heard, is_soft: bool) -> None:
    side, gamma = heard if is_soft else clips, 2.0
    total, gradient_NE = loss_and_gradient({"loss": "focal", "focal_gamma": gamma}, side)
    shares_NE = side.targets if is_soft else np.eye(7)[side.labels]
    p_NE = np.exp(log_softmax(logits(), axis=1))
    assert total == pytest.approx(-(shares_NE * (1 - p_NE) ** gamma * np.log(p_NE)).sum(), rel=1e-5)
    by_p_NE = shares_NE * (gamma * (1 - p_NE) ** (gamma - 1) * np.log(p_NE) - (1 - p_NE) ** gamma / p_NE)
    expected_NE = p_NE * (by_p_NE - (by_p_NE * p_NE).sum(axis=1, keepdims=True))  # through the softmax
    np.testing.assert_allclose(gradient_NE, expected_NE, atol=1e-5)


@pytest.mark.parametrize("settings", [{"loss": "focal", "focal_gamma": 0.0}, {"loss": "logit_adjusted", "logit_tau": 0.0}])
@pytest.mark.parametrize("more", [{}, {"class_weights": "balanced", "label_smoothing": 0.2}])
def test_without_their_parameter_both_are_the_cross_entropy(clips, settings, more) -> None:
    (total, gradient_NE), (plain, of_plain_NE) = loss_and_gradient({**settings, **more}, clips), loss_and_gradient(more, clips)
    assert total == pytest.approx(plain, rel=1e-5)
    np.testing.assert_allclose(gradient_NE, of_plain_NE, atol=1e-5)


def test_the_focal_loss_has_a_gradient_where_the_model_is_sure(clips) -> None:
    sure_NE = torch.tensor(40.0 * np.eye(7)[clips.labels], requires_grad=True)
    Loss.of(recipe(loss="focal", focal_gamma=0.25), clips, CPU)(sure_NE.float(), ALL).backward()
    assert sure_NE.grad is not None
    assert torch.isfinite(sure_NE.grad).all()


def test_an_adjusted_logit_has_the_logarithm_of_its_share_and_one_without_clips_that_of_one_clip(clips) -> None:
    total, _ = loss_and_gradient({"loss": "logit_adjusted", "logit_tau": 1.5}, clips)
    shares_E = np.array([4, 4, 4, 1, 1, 1, 1]) / 12
    log_p_NE = log_softmax(logits() + 1.5 * np.log(shares_E), axis=1)
    assert total == pytest.approx(-log_p_NE[ALL, clips.labels].sum(), rel=1e-5)


def test_votes_that_agree_give_the_loss_of_labels(clips) -> None:
    certain = replace(clips, targets=np.eye(7)[clips.labels])
    for settings in ({}, {"class_weights": "balanced", "label_smoothing": 0.2}, {"loss": "focal"}, {"loss": "logit_adjusted"}):
        total, gradient_NE = loss_and_gradient(settings, certain)
        of_labels, by_labels_NE = loss_and_gradient(settings, clips)
        assert total == pytest.approx(of_labels, rel=1e-6)
        np.testing.assert_allclose(gradient_NE, by_labels_NE, atol=1e-6)
    assert mean_cross_entropy(logits(), certain.targets) == pytest.approx(-log_softmax(logits(), axis=1)[ALL, clips.labels].mean())


def test_clips_without_a_label_count_in_the_validation_loss_and_in_no_other_score(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    setup.hear()
    everyone = without_time(setup.fit("all", epochs=1, targets="soft").history)[0]
    whole = setup.validation
    setup.validation = replace(whole, has_label=np.array([True] * 5 + [False]), labels=np.array([*whole.labels[:5], 6]))
    some = without_time(setup.fit("some", epochs=1, targets="soft").history)[0]
    assert some["val/loss"] == everyone["val/loss"]
    assert "val/recall/surprise" not in some
    setup.validation = whole.take(np.arange(5))
    fewer = without_time(setup.fit("fewer", epochs=1, targets="soft").history)[0]
    assert some["val/uar"] == fewer["val/uar"]
    assert some["val/loss"] != fewer["val/loss"]


def test_a_round_of_four_classes_towards_votes_is_the_same_over_cached_outputs(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    for side in ("train", "validation"):
        clips = getattr(setup, side)
        targets = rng(1, side).dirichlet(np.ones(4), len(clips))
        setattr(setup, side, replace(clips, emotions=("neutral", "happy", "sad", "surprise"), targets=targets))
    settings = {"freeze": "encoder", "targets": "soft", "sample": "balanced", "loss": "focal"}
    computed = setup.fit("computed", **settings)
    setup.features = setup.cache("encoder")
    cached = setup.fit("cached", **settings)
    assert cached.classifier.emotions == setup.train.emotions
    torch.testing.assert_close(cached.classifier.state_dict(), computed.classifier.state_dict(), rtol=0, atol=1e-6)
    for one, other in zip(without_time(cached.history), without_time(computed.history), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
