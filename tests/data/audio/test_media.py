"""What libsndfile does not read is decoded by PyAV where it is installed, and is named with the extra to install where it is not."""

import io
import sys

import numpy as np
import pytest

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio, Defect
from ser_mlops.data.audio.media import kind_of
from tests.data.audio.sounds import tone

HEADS = {
    "m4a": b"\x00\x00\x00\x1cftypM4A \x00\x00\x00\x00",
    "mp4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00",
    "QuickTime": b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00",
    "3gp": b"\x00\x00\x00\x18ftyp3gp4\x00\x00\x02\x00",
    "WebM or Matroska": b"\x1a\x45\xdf\xa3\x01\x00\x00\x00",
    "AMR": b"#!AMR\n<",
    "AVI": b"RIFF\x00\x10\x00\x00AVI LIST",
    "Flash video": b"FLV\x01\x05",
    "AAC": b"\xff\xf1\x50\x80",
}


@pytest.mark.parametrize("kind", HEADS)
def test_without_pyav_each_kind_is_named_with_what_to_install(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadAudio, match=rf"needs another decoder: {kind}, which needs PyAV: pip install -e \.\[media\]") as caught:
        decode(HEADS[kind] + bytes(range(256)))
    assert caught.value.defect == Defect.NEEDS_DECODER


@pytest.mark.parametrize("head", [b"RIFF\x00\x00\x00\x00WAVE", b"OggS", b"\x89PNG\r\n\x1a\n", b"", b"ID3\x04", b"\xff\xfb\x90\x64"])
def test_what_libsndfile_reads_or_nobody_is_left_alone(head):
    assert kind_of(head) is None


def encoded_by(container: str, codec: str, wave: np.ndarray, rate: int, layout: str = "mono", with_video: bool = False) -> bytes:
    """Encode int16 samples, one row per channel."""
    av = pytest.importorskip("av", reason="PyAV (the extra media) is not installed")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture = output.add_stream("mpeg4", rate=10) if with_video else None
        track = output.add_stream(codec, rate=rate, layout=layout)
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            output.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
            output.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T.reshape(1, -1)), format="s16", layout=layout)
        frame.sample_rate = rate
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return file.getvalue()


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    return np.stack([(32767 * tone(seconds, rate)).astype(np.int16)] * channels)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "with_video"),
    [("ipod", "aac", 44100, False), ("adts", "aac", 16000, False), ("webm", "libopus", 48000, False), ("mp4", "aac", 48000, True)],
)
def test_lossy_files_give_about_the_wave(container, codec, rate, with_video):
    decoded = decode(encoded_by(container, codec, speech(2.0, rate, 2), rate, "stereo", with_video))
    assert (decoded.source_rate, decoded.source_channels, decoded.channels_differ) == (rate, 2, False)
    assert len(decoded.samples) == pytest.approx(32000, abs=2000)
    middle = decoded.samples[8000:24000].astype(float)
    assert np.std(middle) == pytest.approx(0.3 / np.sqrt(2) * 32768, rel=0.05)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440


@pytest.mark.parametrize("seconds", [0.5, 2.048, 5.0])
def test_lossless_files_give_the_very_samples(seconds):
    wave = speech(seconds, 16000)
    assert np.array_equal(decode(encoded_by("matroska", "pcm_s16le", wave, 16000)).samples, wave[0])


def test_video_without_sound_says_so():
    av = pytest.importorskip("av", reason="PyAV (the extra media) is not installed")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        output.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(picture.encode(None))
    with pytest.raises(BadAudio, match="no audio track: mp4"):
        decode(file.getvalue())


def test_damaged_media_is_unreadable():
    with pytest.raises(BadAudio, match="unreadable: m4a, Invalid data"):
        decode(encoded_by("ipod", "aac", speech(2.0, 16000), 16000)[:500])


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("matroska", "aac")])
def test_cut_off_media_is_told_by_the_length_that_its_container_states(container, codec):
    whole = encoded_by(container, codec, speech(4.0, 48000), 48000)
    with pytest.raises(BadAudio, match=r"^cut off: 2\.\d of 4\.\d s$"):
        decode(whole[: int(0.6 * len(whole))])


def test_media_on_disk_and_in_memory_give_the_same_samples(tmp_path):
    content = encoded_by("ipod", "aac", speech(2.0, 44100), 44100)
    (tmp_path / "memo.m4a").write_bytes(content)
    assert np.array_equal(decode(tmp_path / "memo.m4a").samples, decode(content).samples)
