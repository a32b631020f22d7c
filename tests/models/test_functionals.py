"""The functionals of a clip: what torchaudio says, whatever else is computed and in however many threads."""

import numpy as np
import pytest
import torch
from torchaudio.functional import detect_pitch_frequency

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.models.functionals import FEATURES, FUNCTIONALS, NAMES, energy_db, functionals, pitch_hz


def glide(seconds: float, low: float = 110, high: float = 240, seed: int = 0) -> np.ndarray:
    """A voice-like sound: harmonics of a rising pitch, some noise, two pauses."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, len(time))) / SAMPLE_RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 12))
    sound = sound * (np.sin(2 * np.pi * time / seconds) > -0.7) + 0.02 * np.random.default_rng(seed).standard_normal(len(time))
    return (sound / np.abs(sound).max() * 0.5 * FULL_SCALE).astype(np.int16)


def as_tensor(wave: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(wave).to(torch.float32) / FULL_SCALE


def test_a_clip_has_411_named_numbers():
    numbers = functionals(glide(1.0))
    assert len(NAMES) == len(set(NAMES)) == len(FEATURES) * len(FUNCTIONALS) + 1 == 411
    assert numbers.shape == (411,)
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all()


def test_every_number_is_what_its_name_says():
    wave = glide(1.3)
    numbers = dict(zip(NAMES, functionals(wave).tolist(), strict=True))
    energy, pitch = energy_db(as_tensor(wave)).numpy(), pitch_hz(as_tensor(wave)).numpy()
    assert numbers["duration_s"] == pytest.approx(1.3)
    assert numbers["energy_db_mean"] == pytest.approx(energy.mean(), rel=1e-5)
    assert numbers["energy_db_sd"] == pytest.approx(energy.std(), rel=1e-4)
    assert numbers["pitch_hz_q25"] == pytest.approx(np.quantile(pitch, 0.25), rel=1e-5)
    assert numbers["mfcc1_q25"] <= numbers["mfcc1_q50"] <= numbers["mfcc1_q75"]


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.37])
def test_pitch_is_what_torchaudio_detects_lag_by_lag(seconds):
    wave = as_tensor(glide(seconds))
    slow, fast = detect_pitch_frequency(wave, SAMPLE_RATE), pitch_hz(wave)
    assert fast.shape == slow.shape
    assert (fast == slow).float().mean() > 0.97  # the rest are ties that rounding breaks


def test_pitch_follows_the_voice():
    low, high = (float(pitch_hz(as_tensor(glide(1.0, hz, hz))).median()) for hz in (120, 230))
    assert low == pytest.approx(120, abs=3)
    assert high == pytest.approx(230, abs=6)


@pytest.mark.parametrize("num_samples", [0, 1, 399, 1600])
def test_clips_too_short_for_a_window_and_silent_ones_have_finite_numbers(num_samples):
    wave = glide(0.2)[:num_samples]
    assert np.isfinite(functionals(wave)).all()
    assert np.isfinite(functionals(np.zeros_like(wave))).all()


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_the_bits_do_not_depend_on_threads_or_on_where_the_samples_lie(num_threads):
    wave = glide(1.7)
    expected = functionals(wave)
    shifted = np.concatenate([np.zeros(3, dtype=np.int16), wave])[3:]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_threads)
        functionals(glide(0.8, seed=1))
        again = functionals(shifted)
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    assert again.tobytes() == expected.tobytes()
