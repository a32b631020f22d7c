"""Augmentation: a function of seed, round, epoch and clip, off unless asked for."""

from pathlib import Path

import numpy as np
import pytest

from ser_mlops.seeds import rng
from ser_mlops.training.augment import AUGMENTATIONS, Alteration, augment
from tests.training.builders import make_clips

WAVE = (9000 * np.sin(np.arange(16000) / 20)).astype(np.int16)


def test_the_same_clip_is_altered_the_same_way_wherever_it_stands_and_otherwise_in_another_epoch(tmp_path: Path) -> None:
    clips = make_clips(tmp_path, 5)
    kinds = ("speed", "noise", "gain")
    altered = Alteration(kinds, 2000, seed=1, round=0, epoch=1)(clips, 3)
    again = Alteration(kinds, 2000, seed=1, round=0, epoch=1)(clips.take(np.array([3, 0])), 0)
    np.testing.assert_array_equal(altered, again)
    other = Alteration(kinds, 2000, seed=1, round=0, epoch=2)(clips, 3)
    assert len(other) != len(altered) or (other != altered).any()


def test_the_order_in_which_augmentations_are_named_does_not_matter() -> None:
    np.testing.assert_array_equal(augment(WAVE, ("gain", "speed"), rng(1, "x")), augment(WAVE, ("speed", "gain"), rng(1, "x")))


def test_speed_changes_the_length_by_a_tenth_or_not_at_all() -> None:
    lengths = {len(augment(WAVE, ("speed",), rng(number, "speed"))) for number in range(20)}
    assert sorted(round(16000 / length, 2) for length in lengths) == [0.9, 1.0, 1.1]


def test_noise_stands_as_far_below_the_speech_as_was_drawn() -> None:
    for number in range(5):
        noise = augment(WAVE, ("noise",), rng(number, "noise")).astype(float) - WAVE
        decibels = 10 * np.log10((WAVE.astype(float) ** 2).mean() / (noise**2).mean())
        assert 9.5 < decibels < 40.5


def test_gain_stays_within_six_decibels_and_within_full_scale() -> None:
    ratios = [augment(WAVE, ("gain",), rng(number, "gain")).astype(float).std() / WAVE.std() for number in range(20)]
    assert min(ratios) > 0.49
    assert max(ratios) < 2.01
    assert np.ptp(ratios) > 0.5
    assert np.abs(augment((WAVE * 3.6).astype(np.int16), ("gain",), rng(4, "gain")).astype(int)).max() <= 32768


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_silence_stays_silent_and_a_short_clip_stays_a_clip(kind: str) -> None:
    silence = augment(np.zeros(1600, dtype=np.int16), (kind,), rng(1, "silence"))
    assert silence.dtype == np.int16
    assert not silence.any()
    assert len(augment(WAVE[:400], (kind,), rng(1, "short"))) > 350
