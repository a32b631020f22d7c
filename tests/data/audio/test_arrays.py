"""A recording in an array is decoded as the same recording in a file."""

import io

import numpy as np
import pytest
import soundfile

from ser_mlops.data.audio.arrays import decode_array
from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.errors import DataError
from tests.data.audio.sounds import noise, tone

SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}


@pytest.mark.parametrize("kind", SUBTYPES)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_an_array_is_decoded_as_a_file(tmp_path, kind, rate):
    wave = np.stack([tone(1.0, rate), noise(1.0, rate)], axis=1)
    wave = (wave * np.iinfo(kind).max).astype(kind) if kind.startswith("int") else wave.astype(kind)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype=SUBTYPES[kind])
    ours, theirs = decode_array(wave, rate), decode(tmp_path / "a.wav")
    np.testing.assert_array_equal(ours.samples, theirs.samples)
    assert (ours.source_rate, ours.source_channels) == (rate, 2)


def test_samples_at_16_khz_stay_as_they_are():
    wave = (noise(0.5) * 32767).astype(np.int16)
    np.testing.assert_array_equal(decode_array(wave, 16000).samples, wave)


@pytest.mark.parametrize(
    ("wave", "refusal"),
    [
        (np.zeros((2, 16000), np.float32), r"a wave of shape \(2, 16000\) is not accepted, expected samples, or samples x channels"),
        (np.zeros((1, 2, 3), np.float32), r"a wave of shape \(1, 2, 3\) is not accepted"),
        (np.zeros(16000, np.uint8), r"unknown type of samples 'uint8', expected one of: int16, int32, float32, float64"),
    ],
)
def test_arrays_that_are_no_recording_are_refused(wave, refusal):
    with pytest.raises(DataError, match=refusal):
        decode_array(wave, 16000)


@pytest.mark.parametrize("wave", [np.zeros(16000, np.float32), np.full(16000, np.nan, np.float32), np.zeros(0, np.float32)])
def test_an_array_that_cannot_be_used_is_refused_as_a_file_is(wave):
    content = io.BytesIO()
    soundfile.write(content, wave, 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(BadAudio) as of_file:
        decode(content.getvalue())
    with pytest.raises(BadAudio) as of_array:
        decode_array(wave, 16000)
    assert str(of_array.value) == str(of_file.value)
