"""411 numbers that describe a clip without any trained encoder: functionals of classical features over steps of 10 ms.

Features: 40 MFCC (c0 to c39) and their deltas, energy in dB, pitch in Hz. Functionals of each: mean, standard deviation and three
quartiles. Last the duration in seconds: (40 + 40 + 1 + 1) x 5 + 1 = 411. torchaudio defines them.

Shape letters: S samples, T steps, F features, D numbers.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.models.threads import one_thread

HOP, WINDOW, FFT = 160, 400, 512
"""Steps of 10 ms, windows of 25 ms."""
NUM_MELS, NUM_MFCC = 64, 40
SILENCE_DB = -100.0
"""Energy of a window of zeros."""
SHORTEST_LAG, LONGEST_LAG = 6, 189
"""Samples: the periods of 85 Hz to 3400 Hz, as torchaudio counts them."""
EPSILON = 1e-9
NEARLY = 0.99
"""A shorter lag is taken for the period where it correlates almost as well as the best one, which may be a multiple of it."""
SMOOTHED = 30
"""Steps of the running median over pitch."""
QUARTILES = (0.25, 0.5, 0.75)
MIN_SAMPLES = WINDOW
"""Shorter clips are padded with zeros to this length."""

FEATURES = (*(f"mfcc{i}" for i in range(NUM_MFCC)), *(f"delta_mfcc{i}" for i in range(NUM_MFCC)), "energy_db", "pitch_hz")
FUNCTIONALS = ("mean", "sd", *(f"q{round(100 * quartile)}" for quartile in QUARTILES))
NAMES = (*(f"{feature}_{statistic}" for statistic in FUNCTIONALS for feature in FEATURES), "duration_s")
"""What each of the 411 numbers is, in their order."""


def functionals(wave_S: np.ndarray) -> np.ndarray:
    """Return the 411 numbers of a clip (int16, 16 kHz): float32, in the order of NAMES.

    One clip at a time and in one thread: the bits depend on the clip alone, not on its neighbours or on how many cores there are.
    """
    with torch.inference_mode(), one_thread():
        wave = torch.tensor(wave_S, dtype=torch.float32) / FULL_SCALE  # into torch's own, aligned memory
        wave = functional.pad(wave, (0, max(0, MIN_SAMPLES - len(wave))))
        mfcc_FT = _mfcc()(wave)
        energy_T, pitch_T = energy_db(wave), pitch_hz(wave)
        parts = [*_statistics(mfcc_FT), *_statistics(compute_deltas(mfcc_FT)), *_statistics(energy_T[None]), *_statistics(pitch_T[None])]
        by_statistic = [torch.cat(parts[i :: len(FUNCTIONALS)]) for i in range(len(FUNCTIONALS))]
        return torch.cat([*by_statistic, torch.tensor([len(wave_S) / SAMPLE_RATE])]).numpy()


@lru_cache(maxsize=1)
def _mfcc() -> MFCC:
    return MFCC(SAMPLE_RATE, NUM_MFCC, melkwargs={"n_fft": FFT, "win_length": WINDOW, "hop_length": HOP, "n_mels": NUM_MELS})


def _statistics(values_FT: Tensor) -> list[Tensor]:
    """Return the functionals of some features, in the order of FUNCTIONALS."""
    quartiles = torch.quantile(values_FT, torch.tensor(QUARTILES), dim=1)
    return [values_FT.mean(dim=1), values_FT.std(dim=1, correction=0), *quartiles]


def energy_db(wave_S: Tensor) -> Tensor:
    """Return the mean power of every window, in dB of full scale."""
    power_T = wave_S.unfold(0, WINDOW, HOP).square().mean(dim=1)
    return 10 * torch.log10(power_T.clamp(min=10 ** (SILENCE_DB / 10)))


def pitch_hz(wave_S: Tensor) -> Tensor:
    """Return the pitch of every step: what `torchaudio.functional.detect_pitch_frequency` returns, in a twentieth of its time.

    That one takes one lag after the other; here one product of spectra correlates the samples of a step with all that follow. Clips of
    less than 30 steps, over which the median is taken, are padded with zeros (torchaudio refuses them).
    """
    num_steps = max(SMOOTHED, -(-len(wave_S) // HOP))
    padded_S = functional.pad(wave_S, (0, num_steps * HOP + LONGEST_LAG - len(wave_S)))
    reach_TS = padded_S.unfold(0, HOP + LONGEST_LAG, HOP)
    spectrum_TK, own_spectrum_TK = torch.fft.rfft(reach_TS, FFT), torch.fft.rfft(reach_TS[:, :HOP], FFT)
    products_TL = torch.fft.irfft(spectrum_TK * own_spectrum_TK.conj(), FFT)[:, : LONGEST_LAG + 1]
    sums_S = functional.pad(padded_S.double().square().cumsum(0), (1, 0))  # exact: squares of 16-bit samples are whole multiples of 2^-30
    norms_S = (EPSILON + (sums_S[HOP:] - sums_S[:-HOP]).sqrt().float()).square()
    norms_TL = norms_S.unfold(0, LONGEST_LAG + 1, HOP)
    correlations_TL = (products_TL / norms_TL[:, :1] / norms_TL)[:, SHORTEST_LAG:]
    best_T, lags_T = correlations_TL.max(dim=1)
    half_T, half_lags_T = correlations_TL[:, : LONGEST_LAG // 2 + 1 - SHORTEST_LAG].max(dim=1)
    lags_T = torch.where(half_T > NEARLY * best_T, half_lags_T, lags_T) + SHORTEST_LAG
    before = (SMOOTHED - 1) // 2
    followed_T = torch.cat([lags_T[:1].expand(before), lags_T])
    return SAMPLE_RATE / (EPSILON + followed_T.unfold(0, SMOOTHED, 1).median(dim=1).values)
