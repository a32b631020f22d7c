"""Waveform augmentation of training clips: what is drawn follows from seed, round, epoch and clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.seeds import rng
from ser_mlops.training.batching import Clips, crop

SPEEDS = (0.9, 1.0, 1.1)
"""Few and round: torchaudio's resampling kernel grows with the denominator of the ratio."""
NOISE_DB = (10.0, 40.0)
GAIN_DB = (-6.0, 6.0)


@dataclass(frozen=True)
class Alteration:
    """Crops and augments the training clips of one epoch."""

    kinds: tuple[str, ...]
    max_samples: int | None
    seed: int
    round: int
    epoch: int

    def __call__(self, clips: Clips, i: int) -> np.ndarray:
        """Return the samples of a clip (int16), altered."""
        wave_S = clips.wave(i)
        random = rng(self.seed, "alteration", self.round, self.epoch, str(clips.corpora[i]), int(clips.starts[i]))
        if self.max_samples is not None:
            wave_S = crop(wave_S, self.max_samples, random)
        return augment(wave_S, self.kinds, random) if self.kinds else wave_S


def augment(wave_S: np.ndarray, kinds: tuple[str, ...], random: np.random.Generator) -> np.ndarray:
    """Return an int16 wave as if it had been recorded faster, noisier or louder.

    speed: 0.9, 1 or 1.1 times; noise: white, 10 to 40 dB below the speech; gain: -6 to 6 dB, clipped at full scale (nothing is left of
    it where the checkpoint's feature extractor normalises). Whatever the order of `kinds`, they are applied in this one.
    """
    wave = torch.from_numpy(wave_S.astype(np.float32) / FULL_SCALE)
    for kind, alter in AUGMENTATIONS.items():
        if kind in kinds:
            wave = alter(wave, random)
    return (wave * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16).numpy()


def _change_speed(wave: Tensor, random: np.random.Generator) -> Tensor:
    from torchaudio.functional import speed

    return speed(wave[None], SAMPLE_RATE, float(random.choice(SPEEDS)))[0][0]


def _add_noise(wave: Tensor, random: np.random.Generator) -> Tensor:
    from torchaudio.functional import add_noise

    noise = torch.from_numpy(random.standard_normal(len(wave), dtype=np.float32))
    return add_noise(wave[None], noise[None], torch.tensor([random.uniform(*NOISE_DB)], dtype=torch.float32))[0]


def _apply_gain(wave: Tensor, random: np.random.Generator) -> Tensor:
    from torchaudio.functional import gain

    return gain(wave, random.uniform(*GAIN_DB))


AUGMENTATIONS: Mapping[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "speed": _change_speed,
    "noise": _add_noise,
    "gain": _apply_gain,
}
