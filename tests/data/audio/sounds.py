"""Sounds to decode, as the bytes of files."""

import io
import struct

import numpy as np
import soundfile


def tone(seconds: float = 0.5, rate: int = 16000, hertz: float = 440.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float = 0.5, rate: int = 16000, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).clip(-1, 0.999).astype(np.float32)


def encoded(wave: np.ndarray, rate: int = 16000, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=container, subtype=subtype)
    return file.getvalue()


def with_sizes(wav: bytes, riff: int, data: int) -> bytes:
    """Replace the two sizes in the header of a plain wav file."""
    start = wav.index(b"data") + 4
    return wav[:4] + struct.pack("<I", riff) + wav[8:start] + struct.pack("<I", data) + wav[start + 4 :]
