"""A recording that is an array already, decoded as the same recording in a file would be."""

import io

import numpy as np
import soundfile

from ser_mlops.data.audio.decode import Decoded, decode
from ser_mlops.errors import DataError, one_of

SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}
"""Type of samples -> their format in a wav file."""


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
