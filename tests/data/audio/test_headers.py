"""A recording that ends before its header says is told from a whole one, in every format whose header states a length."""

import io
import struct

import numpy as np
import pytest
import soundfile

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio, Defect
from tests.data.audio.sounds import encoded, noise, tone, with_sizes

STATED = [
    ("WAV", "PCM_16", "FILE"),
    ("WAV", "PCM_24", "FILE"),
    ("WAV", "FLOAT", "FILE"),
    ("WAV", "ULAW", "FILE"),
    ("WAV", "IMA_ADPCM", "FILE"),
    ("WAV", "PCM_16", "BIG"),
    ("WAVEX", "PCM_16", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("W64", "PCM_16", "FILE"),
    ("AIFF", "PCM_16", "FILE"),
    ("AIFF", "FLOAT", "FILE"),
    ("AU", "PCM_16", "FILE"),
    ("NIST", "PCM_16", "FILE"),
    ("NIST", "ULAW", "FILE"),
    ("FLAC", "PCM_16", "FILE"),
]


def sound_file(container: str, subtype: str, endian: str, seconds: float = 2.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(seconds), 16000, format=container, subtype=subtype, endian=endian)
    return file.getvalue()


@pytest.mark.parametrize(("container", "subtype", "endian"), STATED)
def test_a_cut_off_file_is_refused_with_what_is_there_or_kept_on_request(container, subtype, endian):
    whole = sound_file(container, subtype, endian)
    broken_off = whole[: int(0.3 * len(whole))]
    with pytest.raises(BadAudio, match=r"^cut off: 0\.[56] of 2\.[01] s$") as caught:
        decode(broken_off)
    assert caught.value.defect == Defect.CUT_OFF
    kept = decode(broken_off, keep_cut_off=True)
    num_sound = len(kept.samples) - (1024 if subtype == "IMA_ADPCM" else 0)  # the last block of ADPCM lacks its end
    assert np.array_equal(kept.samples[:num_sound], decode(whole).samples[:num_sound])
    assert kept.missing_seconds + len(kept.samples) / 16000 == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(("container", "subtype", "endian"), [*STATED, ("CAF", "PCM_16", "FILE")])
def test_whole_files_lack_nothing(container, subtype, endian):
    assert decode(sound_file(container, subtype, endian)).missing_seconds == 0


def test_a_cut_off_caf_file_which_libsndfile_does_not_open_is_named_too():
    whole = sound_file("CAF", "PCM_16", "FILE")
    with pytest.raises(BadAudio, match=r"^cut off: \d+,\d+ of 64,004 bytes$"):
        decode(whole[:20_000], keep_cut_off=True)


def test_a_file_that_lacks_its_last_moment_is_told_so_in_numbers_that_differ():
    with pytest.raises(BadAudio, match=r"^cut off: 1.98 of 2.00 s$"):
        decode(encoded(noise(2.0))[:-640])


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_file_that_ends_within_a_page_is_cut_off(subtype):
    whole = encoded(noise(4.0, 48_000), 48_000, "OGG", subtype)
    broken_off = whole[: int(0.6 * len(whole))]
    with pytest.raises(BadAudio, match=r"^cut off: [12]\.\d of at least [23]\.\d s$"):
        decode(broken_off)
    kept = decode(broken_off, keep_cut_off=True)
    assert 0 < kept.missing_seconds < 4 - len(kept.samples) / 16_000
    assert decode(whole).missing_seconds == 0


def test_an_ogg_file_that_ends_with_a_whole_page_is_a_stream_that_was_stopped():
    whole = encoded(noise(4.0, 48_000), 48_000, "OGG", "OPUS")
    assert decode(whole[: whole.rindex(b"OggS")]).missing_seconds == 0


def test_a_cut_off_file_on_disk_is_found_as_well(tmp_path):
    (tmp_path / "clip.wav").write_bytes(encoded(noise(2.0))[:20_000])
    with pytest.raises(BadAudio, match=r"^cut off: 0.6 of 2.0 s$"):
        decode(tmp_path / "clip.wav")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0x7FFFFE00])
def test_placeholders_of_streamed_wav_files_are_no_lengths(size):
    wav = encoded(noise(1.0))
    assert decode(with_sizes(wav, 0xFFFFFFFF, size)).missing_seconds == 0


@pytest.mark.parametrize("length", [0, 0xFFFFFFFFFFFFFFFF])
def test_an_rf64_file_of_unknown_length_is_whole(length):
    rf64 = sound_file("RF64", "PCM_16", "FILE")
    start = rf64.index(b"ds64") + 16
    streamed = rf64[:start] + struct.pack("<Q", length) + rf64[start + 8 :]
    decoded = decode(streamed)
    assert decoded.missing_seconds == 0
    assert len(decoded.samples) == 32000


def test_an_au_file_of_unknown_length_is_whole():
    au = sound_file("AU", "PCM_16", "FILE")
    decoded = decode(au[:8] + b"\xff\xff\xff\xff" + au[12:])
    assert (len(decoded.samples), decoded.missing_seconds) == (32000, 0)


def test_a_header_that_counts_itself_as_samples_is_forgiven():
    wav = encoded(noise(1.0))
    assert decode(with_sizes(wav, len(wav), len(wav))).missing_seconds == 0


def test_chunks_before_the_samples_are_skipped_however_long_they_are():
    wav = encoded(noise(2.0))
    listed = wav[:36] + b"LIST" + struct.pack("<I", 4001) + b"\0" * 4002 + wav[36:]
    assert len(decode(listed).samples) == 32000
    with pytest.raises(BadAudio, match=r"cut off: 0\.9 of 2\.0 s"):
        decode(listed[:32_900])


@pytest.mark.parametrize("rate", [16000, 44100])  # MPEG 2 and MPEG 1, whose notes lie at other places
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(16 * 128)])
def test_a_cut_off_mp3_is_told_by_the_note_of_its_encoder(rate, channels, tag):
    content = tag + encoded(np.stack([tone(4.0, rate)] * channels, axis=1), rate, "MP3", "MPEG_LAYER_III")
    assert len(decode(content).samples) == pytest.approx(64000, abs=4000)
    assert len(decode(content + b"TAG" + bytes(125)).samples) > 60000
    with pytest.raises(BadAudio, match=r"^cut off: \d\.\d of \d\.\d s$"):
        decode(content[: len(content) // 2])
