"""Speech-like sounds that nobody spoke: a voice is a row of harmonics through four resonances, an emotion changes how it speaks.

The harmonics stand for the glottal source, the resonances for the vocal tract; breath noise is added. An emotion changes pitch, melody,
tempo, spectral tilt, breathiness and resonances; a speaker changes the same things less. Every sample follows from the name of its clip,
so two runs give the same samples.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from ser_mlops.seeds import rng

SEED = 19730309


@dataclass(frozen=True)
class Style:
    """How an emotion sounds, relative to the speaker's own voice."""

    pitch: float
    """Factor on the fundamental."""
    glide: float
    """Octaves that the melody rises over the clip."""
    swing: float
    """Octaves that the melody rises and falls within a syllable."""
    pace: float
    """Syllables per second."""
    tilt: float
    """Amplitude of harmonic k falls as k to the minus this."""
    breath: float
    """Breath noise, relative to the voice."""
    tract: float = 1.0
    """Factor on the resonances: below 1, a longer tract."""
    tremor: float = 0.0
    """Depth of an 8 Hz tremor of loudness and pitch."""
    creak: float = 0.0
    """Depth of a beat at half the pitch."""
    attack: float = 1.0
    """Exponent on a syllable's loudness: below 1 abrupt, above 1 soft."""
    level: float = 0.5
    """Peak of the clip, 1 is full scale."""


STYLES = {
    "neutral": Style(pitch=1.0, glide=-0.1, swing=0.03, pace=4.2, tilt=1.3, breath=0.02),
    "happy": Style(pitch=1.5, glide=0.0, swing=0.45, pace=5.5, tilt=0.9, breath=0.03, tract=1.1, level=0.7),
    "sad": Style(pitch=0.8, glide=-0.25, swing=0.02, pace=2.4, tilt=2.4, breath=0.06, attack=2.0, level=0.2),
    "angry": Style(pitch=1.2, glide=-0.15, swing=0.2, pace=6.0, tilt=0.3, breath=0.02, tract=1.05, attack=0.4, level=0.9),
    "fear": Style(pitch=1.7, glide=0.1, swing=0.05, pace=6.5, tilt=1.5, breath=0.5, tremor=0.5, level=0.4),
    "disgust": Style(pitch=0.7, glide=-0.2, swing=0.08, pace=3.0, tilt=0.8, breath=0.08, tract=0.8, creak=0.8, level=0.5),
    "surprise": Style(pitch=1.4, glide=0.9, swing=0.1, pace=3.2, tilt=1.0, breath=0.12, tract=1.15, level=0.7),
    "contempt": Style(pitch=0.75, glide=0.2, swing=0.02, pace=2.8, tilt=1.1, breath=0.02, tract=0.9, creak=0.3, level=0.4),
    "calm": Style(pitch=0.97, glide=-0.1, swing=0.02, pace=3.6, tilt=1.5, breath=0.04, level=0.3),
    "other": Style(pitch=1.1, glide=0.1, swing=0.15, pace=4.5, tilt=1.1, breath=0.1),
}
VOWELS = np.array(
    [[730, 1090, 2440, 3400], [530, 1840, 2480, 3500], [270, 2290, 3010, 3700], [570, 840, 2410, 3300], [300, 870, 2240, 3200]]
)
"""Resonances in Hz of a, e, i, o, u."""
BANDWIDTHS = np.array([80.0, 100.0, 140.0, 200.0])
"""Of the resonances, in Hz."""
CONTROL_RATE = 200
"""Values per second of the slow curves: pitch, loudness, resonances."""
HIGHEST = 5500.0
"""Harmonics above this, in Hz, are left out."""


@dataclass(frozen=True)
class Line:
    """One clip to be spoken."""

    path: str
    """Inside the corpus's folder."""
    speaker: str
    gender: str
    emotion: str
    text: str
    """Decides the syllables."""


def speak(line: Line, speaker: str, sample_rate: int) -> np.ndarray:
    """Return the samples of a line, in [-1, 1]; `speaker` is unique among all corpora and decides the voice."""
    own, take = rng(SEED, "voice", speaker), rng(SEED, "clip", speaker, line.path)
    style = STYLES[line.emotion]
    is_female = line.gender == "female"
    pitch_hz = (185 if is_female else 130) * own.uniform(0.93, 1.07) * style.pitch * take.uniform(0.97, 1.03)
    tract = (1.12 if is_female else 1.0) * own.uniform(0.96, 1.04) * style.tract
    tilt = style.tilt + own.uniform(-0.12, 0.12) + take.uniform(-0.05, 0.05)
    breath = style.breath * own.uniform(0.8, 1.25)
    pace = style.pace * own.uniform(0.94, 1.06) * take.uniform(0.95, 1.05)

    vowels = VOWELS[[zlib.crc32(f"{line.text}{place}".encode()) % len(VOWELS) for place in range(max(2, round(pace)))]]
    duration_s = len(vowels) / pace
    time_c = np.arange(int(duration_s * CONTROL_RATE)) / CONTROL_RATE
    beat_c = time_c * pace % 1.0
    tremor_c = style.tremor * np.sin(2 * np.pi * 8.0 * time_c + take.uniform(0, 6))
    melody_c = style.glide * (time_c / duration_s - 0.3) + style.swing * np.sin(2 * np.pi * beat_c) + 0.1 * tremor_c
    pitch_c = pitch_hz * 2.0**melody_c
    loud_c = np.sin(np.pi * beat_c) ** style.attack * (1 - 0.4 * time_c / duration_s) * (1 + tremor_c) + 1e-3
    resonances_c4 = tract * vowels[np.minimum((time_c * pace).astype(int), len(vowels) - 1)]

    time_s = np.arange(int(duration_s * sample_rate)) / sample_rate
    phase_s = 2 * np.pi * np.cumsum(np.interp(time_s, time_c, pitch_c)) / sample_rate
    voice_s = np.zeros_like(time_s)
    for harmonic in range(1, int(HIGHEST / pitch_c.min()) + 1):
        gain_c = loud_c * harmonic**-tilt * resonance(harmonic * pitch_c, resonances_c4)
        voice_s += np.interp(time_s, time_c, gain_c) * np.sin(harmonic * phase_s)
    voice_s *= 1 + style.creak * np.sin(phase_s / 2)
    noise_s = band_noise(take, len(time_s), sample_rate) * np.interp(time_s, time_c, loud_c)
    spoken_s = voice_s / rms(voice_s) + (breath + 0.01) * noise_s / rms(noise_s)
    return style.level * take.uniform(0.85, 1.0) * spoken_s / np.abs(spoken_s).max()


def resonance(frequency_c: np.ndarray, resonances_c4: np.ndarray) -> np.ndarray:
    """Return the gain of the vocal tract at one frequency per moment: a sum of four resonance curves."""
    distance_c4 = (frequency_c[:, None] - resonances_c4) / BANDWIDTHS
    gain_c = (1 / (1 + distance_c4**2) * np.array([1.0, 0.7, 0.4, 0.25])).sum(axis=1)
    return np.where(frequency_c < HIGHEST, gain_c + 0.02, 0.0)


def band_noise(random: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Return noise between 2 and 7 kHz, as far as the sampling rate reaches."""
    spectrum = np.fft.rfft(random.standard_normal(num_samples))
    frequency = np.fft.rfftfreq(num_samples, 1 / sample_rate)
    return np.fft.irfft(spectrum * ((frequency > 2000) & (frequency < 7000)), num_samples)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))
