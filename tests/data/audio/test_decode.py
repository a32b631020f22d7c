"""Whatever a file holds comes out as mono int16 at 16 kHz, or is refused with its reason."""

import io
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio, Defect
from ser_mlops.data.audio.streams import BLOCK_FRAMES
from ser_mlops.errors import DataError
from tests.data.audio.sounds import encoded, noise, tone, with_sizes

RATES = (8000, 11025, 16000, 22050, 24414, 44100, 48000, 96000, 192000)
WIDTHS = [("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")]
CONTAINERS = [(container, "PCM_16") for container in ("AIFF", "FLAC", "WAVEX", "RF64", "W64")] + [("AIFF", "PCM_24"), ("FLAC", "PCM_24")]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def defect_of(content: bytes, **limits: float) -> Defect:
    with pytest.raises(BadAudio) as caught:
        decode(content, **limits)
    return caught.value.defect


def as_int16(wave: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


@given(st.lists(st.integers(-32768, 32767), min_size=2, max_size=500).filter(lambda values: len(set(values)) > 1))
@settings(deadline=None)
def test_16_bit_mono_at_16_khz_passes_unchanged(values):
    samples = np.array(values, dtype=np.int16)
    assert np.array_equal(decode(encoded(samples)).samples, samples)


@given(st.sampled_from(RATES), st.integers(100, 3 * BLOCK_FRAMES), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_blocks_equal_one_resampling_of_the_whole_and_have_the_promised_length(rate, num_frames, seed):
    wave = noise(num_frames / rate, rate, seed=seed)
    samples = decode(encoded(wave, rate, subtype="FLOAT")).samples
    assert len(samples) == (2 * 16000 * num_frames + rate) // (2 * rate)
    assert np.array_equal(samples, as_int16(soxr.resample(wave, rate, 16000, quality="HQ")))


@pytest.mark.parametrize(("container", "subtype"), WIDTHS + CONTAINERS)
def test_every_width_and_container_gives_the_wave(container, subtype):
    wave = tone()
    decoded = decode(encoded(wave, container=container, subtype=subtype))
    assert decoded.source_rate == 16000
    tolerance = 0.02 if subtype in ("PCM_U8", "ULAW", "ALAW") else 1e-4
    assert np.abs(decoded.samples / 32768 - wave).max() < tolerance


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
def test_compressed_files_give_about_the_wave(container, subtype):
    wave = tone(1.0, 48000)
    samples = decode(encoded(wave, 48000, container, subtype)).samples
    assert len(samples) == pytest.approx(16000, abs=1200)
    assert np.corrcoef(samples[2000:14000], tone(1.0)[2000:14000])[0, 1] ** 2 > 0.9 or np.std(samples) == pytest.approx(6950, rel=0.1)


def test_the_content_decides_not_the_suffix(tmp_path):
    samples = as_int16(tone())
    for name, container in (("aiff.wav", "AIFF"), ("flac.wav", "FLAC"), ("wav.mp3", "WAV")):
        (tmp_path / name).write_bytes(encoded(samples, container=container))
        assert np.array_equal(decode(tmp_path / name).samples, samples), name


def test_path_bytes_and_file_object_give_the_same_samples(tmp_path):
    content = encoded(noise(2.5, 44100), 44100)
    (tmp_path / "clip.wav").write_bytes(content)
    expected = decode(content).samples
    assert np.array_equal(decode(tmp_path / "clip.wav").samples, expected)
    assert np.array_equal(decode(io.BytesIO(content)).samples, expected)


def test_stereo_is_the_mean_of_its_channels():
    left, right = noise(seed=1), noise(seed=2)
    decoded = decode(encoded(np.stack([left, right], axis=1), subtype="FLOAT"))
    assert decoded.source_channels == 2
    assert np.array_equal(decoded.samples, as_int16((left + right) / 2))


def test_stereo_with_identical_channels_equals_mono():
    wave = noise(1.5, 48000)
    assert np.array_equal(decode(encoded(np.stack([wave, wave], axis=1), 48000)).samples, decode(encoded(wave, 48000)).samples)


def test_floats_beyond_full_scale_are_clipped_and_counted():
    wave = np.array([0.0, 1.5, -1.5, 0.25] * 100, dtype=np.float32)
    decoded = decode(encoded(wave, subtype="FLOAT"))
    assert decoded.samples[:4].tolist() == [0, 32767, -32768, 8192]
    assert decoded.num_clipped == 200


@pytest.mark.parametrize(("riff", "data"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0x7FFFFFFF, 0x7FFFFFFF), (0, 0xFFFFFFFF), (36 + 32000, 0)])
def test_a_wav_of_unknown_length_is_read_to_its_end(riff, data):
    wav = encoded(tone(1.0))
    assert np.array_equal(decode(with_sizes(wav, riff, data)).samples, decode(wav).samples)


def test_an_empty_data_chunk_before_another_chunk_stays_empty():
    wav = encoded(np.zeros(0, dtype=np.float32)) + b"LIST" + struct.pack("<I", 4000) + b"\0" * 4000
    assert defect_of(wav) == Defect.NO_SAMPLES


def test_a_flac_of_unknown_or_overstated_length_is_read_to_its_end():
    flac = encoded(noise(3.0), container="FLAC")
    expected = decode(flac).samples
    unknown = flac[:21] + bytes([flac[21] & 0xF0]) + b"\0" * 4 + flac[26:]
    overstated = flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    assert np.array_equal(decode(unknown).samples, expected)
    assert np.array_equal(decode(overstated).samples, expected)


def test_what_a_header_claims_is_not_allocated():
    wav = with_sizes(encoded(tone(1.0)), 0x7FFFFF00, 0x7FFFFE00)
    flac = encoded(tone(1.0), container="FLAC")
    flac = flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    for content in (wav, flac):
        tracemalloc.start()
        decode(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4e6


def test_memory_holds_the_result_and_a_block_of_a_long_file(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48000, 2, "FLOAT") as file:
        for seed in range(60):
            file.write(np.stack([noise(1.0, 48000, seed=seed)] * 2, axis=1))
    tracemalloc.start()
    decoded = decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded.samples) == 60 * 16000
    assert peak < 2.2 * decoded.samples.nbytes + 3e6


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (b"", Defect.EMPTY),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 82046\n", Defect.LFS_POINTER),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + b"\0" * 50, Defect.APPLE_DOUBLE),
        (b"<!DOCTYPE html><title>404</title>", Defect.TEXT),
        ("cr\u00e9\u00e9 par".encode(), Defect.TEXT),
        (b"RIFF", Defect.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, Defect.UNREADABLE),
        (encoded(tone())[:30], Defect.UNREADABLE),
        (encoded(tone(), container="FLAC")[:700], Defect.CUT_OFF),
        (encoded(np.zeros(0, dtype=np.float32)), Defect.NO_SAMPLES),
        (encoded(np.zeros(8000, dtype=np.float32)), Defect.ALL_ZEROS),
        (encoded(np.full(8000, 1e-9, dtype=np.float32), subtype="FLOAT"), Defect.ALL_ZEROS),
        (encoded(np.full(8000, 0.5, dtype=np.float32)), Defect.CONSTANT),
        (encoded(np.stack([tone(), -tone()], axis=1), subtype="FLOAT"), Defect.ALL_ZEROS),
        (encoded(np.array([0.1, np.nan, 0.2] * 999, dtype=np.float32), subtype="FLOAT"), Defect.NOT_FINITE),
        (encoded(np.array([0.1, np.inf, 0.2] * 999, dtype=np.float32), subtype="FLOAT"), Defect.NOT_FINITE),
        (encoded(tone(), 1), Defect.UNUSABLE_RATE),
        (encoded(tone(), 4_000_000), Defect.UNUSABLE_RATE),
    ],
)
def test_each_defect_has_its_reason(content, defect):
    assert defect_of(content) == defect


def sphere(samples: np.ndarray, coding: str = "pcm") -> bytes:
    """A NIST SPHERE file whose header is padded with spaces, as in LDC's corpora."""
    fields = [f"sample_count -i {len(samples)}", "channel_count -i 1", "sample_n_bytes -i 2", "sample_rate -i 16000"]
    fields += ["sample_byte_format -s2 01", "sample_sig_bits -i 16", f"sample_coding -s{len(coding)} {coding}", "end_head"]
    header = "\n".join(["NIST_1A", "   1024", *fields]) + "\n"
    return header.encode().ljust(1024) + samples.astype("<i2").tobytes()


def test_nist_sphere_files_are_read_though_their_header_is_text():
    samples = as_int16(tone())
    assert np.array_equal(decode(sphere(samples)).samples, samples)


def test_compressed_nist_sphere_says_how_to_convert_it():
    with pytest.raises(BadAudio, match=r"needs another decoder: compressed NIST SPHERE, convert it with `sph2pipe -f wav`") as caught:
        decode(sphere(as_int16(tone()), "pcm,embedded-shorten-v2.00"))
    assert caught.value.defect == Defect.NEEDS_DECODER


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("level", [0.001, 0.9])
def test_int16_values_in_float_samples_are_read_as_int16(rate, level):
    samples = as_int16(noise(2.5, rate, level=level))
    decoded = decode(encoded(samples.astype(np.float32), rate, subtype="FLOAT"))
    assert decoded.is_rescaled
    assert np.array_equal(decoded.samples, decode(encoded(samples, rate)).samples)
    assert decoded.num_clipped == decode(encoded(samples, rate)).num_clipped


def test_int16_values_that_were_resampled_before_they_were_stored_as_floats_are_read_as_int16():
    wave = soxr.resample(as_int16(noise(1.0, 44100)).astype(np.float32), 44100, 16000)
    decoded = decode(encoded(wave, subtype="FLOAT"))
    assert decoded.is_rescaled
    assert np.array_equal(decoded.samples, np.rint(wave).astype(np.int16))


@pytest.mark.parametrize("peak", [40.5, 8_388_607.0, 1e30])
def test_floats_in_no_known_unit_are_refused_with_their_peak(peak):
    with pytest.raises(BadAudio, match=r"samples far beyond full scale: peak .*, full scale is 1") as caught:
        decode(encoded(tone(level=1.0) * np.float32(peak), subtype="FLOAT"))
    assert caught.value.defect == Defect.OUT_OF_SCALE


def test_a_square_wave_at_full_scale_is_no_recording():
    square = np.where(tone(level=1.0) >= 0, 32767, -32768).astype(np.int16)
    with pytest.raises(BadAudio, match="clipped throughout: 100% of the samples are at full scale"):
        decode(encoded(square))


@pytest.mark.parametrize(
    ("right", "differ"), [(noise(seed=2), True), (np.zeros(8000, np.float32), True), (0.9 * noise(seed=1), True), (noise(seed=1), False)]
)
def test_channels_that_differ_are_found(right, differ):
    assert decode(encoded(np.stack([noise(seed=1), right], axis=1))).channels_differ is differ


def test_rounding_makes_no_channels_differ():
    left = as_int16(noise(seed=1))
    assert not decode(encoded(np.stack([left, left ^ 1], axis=1))).channels_differ


def test_a_clip_of_the_shortest_length_is_kept_and_a_shorter_one_is_not():
    assert len(decode(encoded(tone(0.1)), min_seconds=0.1).samples) == 1600
    assert defect_of(encoded(tone(0.0999)), min_seconds=0.1) == Defect.TOO_SHORT


def test_hours_of_compressed_sound_are_refused_early():
    assert defect_of(encoded(tone(10.0)), max_seconds=2.0) == Defect.TOO_LONG


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that fails to be read")
def test_storage_that_does_not_answer_is_no_defect_of_a_file():
    with pytest.raises(DataError, match=r"/proc/self/mem cannot be read right now \(Input/output error\): try again") as caught:
        decode(Path("/proc/self/mem"))
    assert not isinstance(caught.value, BadAudio)


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    for path in (tmp_path / "missing.wav", tmp_path):
        with pytest.raises(BadAudio, match=r"unreadable: .+"):
            decode(path)


def test_the_message_says_what_was_expected():
    with pytest.raises(BadAudio, match=r"too short: 0.050 s, expected at least 0.1 s"):
        decode(encoded(tone(0.05)), min_seconds=0.1)
    with pytest.raises(BadAudio, match=r"unreadable: a picture, not audio"):
        decode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(BadAudio, match=r"unreadable: Format not recognised"):
        decode(b"\x01\x02" + bytes(range(256)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # libsndfile seeks before the start of a broken file
@given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from(["WAV", "AIFF", "FLAC", "OGG", "MP3"]))
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_decoded_or_refused_and_never_anything_else(junk, place, container):
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(container, "PCM_16")
    content = encoded(tone(0.1), container=container, subtype=subtype)
    with suppress(BadAudio):
        samples = decode(content[:place] + junk + content[place + len(junk) :]).samples
        assert samples.dtype == np.int16
        assert samples.ndim == 1


def test_a_file_object_is_read_from_where_it_stands_to_its_end():
    stream = io.BytesIO(b"envelope" + encoded(tone()))
    stream.seek(8)
    assert len(decode(stream).samples) == 8000


def test_nothing_is_left_open(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(tone()))
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc/self/fd on this system")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        decode(path)
    assert len(list(descriptors.iterdir())) == before


def test_channels_that_cancel_each_other_out_are_not_called_silent():
    wave = tone(1.0)
    with pytest.raises(BadAudio, match=r"^all zeros: the channels cancel each other out, one is the other inverted$"):
        decode(encoded(np.stack([wave, -wave], axis=1)))
    for silence in (np.zeros((16000, 2), dtype=np.float32), np.zeros(16000, dtype=np.float32)):
        with pytest.raises(BadAudio, match=r"^all zeros$"):
            decode(encoded(silence))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08\x00", "a gzip file"),
        (b"\xff\xd8\xff\xe0", "a picture"),
        (b"%PDF-1.4\n", "a PDF file"),
    ],
)
def test_what_lies_in_the_place_of_a_recording_is_named(head, kind):
    with pytest.raises(BadAudio, match=rf"^unreadable: {kind}, not audio$"):
        decode(head + bytes(200))
