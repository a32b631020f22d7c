"""A recording that is an array already, decoded as the same recording in a file would be."""

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import ArrayLike

from ser_mlops.data.audio.decode import Decoded, decode
from ser_mlops.errors import DataError, one_of

SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}
"""Type of samples -> their format in a wav file."""


def decode_recording(recording: ArrayLike | str | Path, rate: int | None, min_seconds: float = 0.0) -> Decoded:
    """Decode an audio file, or samples at `rate` Hz.

    Raises:
        BadAudio: the recording cannot be used; see `Defect`.
        DataError: there is no such file, or samples have no rate or another shape or type than `decode_array` takes.
    """
    if isinstance(recording, str | Path):
        if not Path(recording).exists():
            raise DataError(f"no file {recording}")
        return decode(Path(recording), min_seconds)
    if rate is None:
        raise DataError("samples have no rate, expected rate=44100, say (that of ser_mlops.wave is 16000)")
    return decode_array(np.asarray(recording), rate, min_seconds)


def decode_array(wave: np.ndarray, rate: int, min_seconds: float = 0.0) -> Decoded:
    """Decode samples, or samples x channels as soundfile reads them, through a wav file in memory: there is one decoder.

    Float samples lie in [-1, 1].

    Raises:
        BadAudio: they cannot be used; see `Defect`.
        DataError: they are of another shape or type.
    """
    if wave.ndim not in (1, 2) or (wave.ndim == 2 and wave.shape[1] > wave.shape[0]):
        raise DataError(f"a wave of shape {wave.shape} is not accepted, expected samples, or samples x channels")
    if wave.dtype.name not in SUBTYPES:
        raise DataError(one_of("type of samples", wave.dtype.name, SUBTYPES))
    content = io.BytesIO()
    soundfile.write(content, wave, rate, format="WAV", subtype=SUBTYPES[wave.dtype.name])
    return decode(content.getvalue(), min_seconds)
