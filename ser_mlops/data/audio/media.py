"""Sound that libsndfile does not read (m4a, webm, amr, video), decoded by PyAV where it is installed (the extra `media`).

Only content that is known by its first bytes is tried, so that damaged files stay refused and nothing is guessed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ser_mlops.data.audio.defects import BadAudio, Defect

if TYPE_CHECKING:
    import av

EXTRA = "pip install -e .[media]"
BRANDS = {b"M4A ": "m4a", b"M4B ": "m4b", b"qt  ": "QuickTime", b"3gp": "3gp", b"3g2": "3g2"}
MAGIC = {
    b"\x1a\x45\xdf\xa3": "WebM or Matroska",
    b"#!AMR": "AMR",
    b"FLV\x01": "Flash video",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media",
    b"\x00\x00\x01\xba": "MPEG video",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
    b"\x0b\x77": "AC-3",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"TTA1": "True Audio",
}

CLOCK = re.compile(r"(\d+):(\d+):(\d+\.?\d*)")
MICROSECONDS = 1e6
"""In which a container of PyAV states its length, per second."""


@dataclass(frozen=True)
class MediaStream:
    """The first audio track of a file."""

    rate: int
    channels: int
    chunks: Iterator[np.ndarray]
    """float32, samples and channels, of any length."""
    stated_seconds: float | None
    """Length of the track as the container states it."""


def kind_of(head: bytes) -> str | None:
    """Name what a file that begins like this is, if it is of a kind that is decoded here.

    >>> kind_of(b"....ftypM4A isom"), kind_of(b"RIFF....WAVEfmt ")
    ('m4a', None)
    """
    if head[4:8] == b"ftyp":
        return next((kind for brand, kind in BRANDS.items() if head[8:].startswith(brand)), "mp4")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "AVI"
    if head.startswith(b"OggS") and b"Speex   " in head:
        return "Speex"
    if head.startswith(b"OggS") and (b"theora" in head or b"fishead" in head):
        return "Ogg video"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def open_media(file: BinaryIO, kind: str) -> Iterator[MediaStream]:
    """Open a file of a kind that `kind_of` named.

    Raises:
        BadAudio: PyAV is not installed, or the file is damaged or has no audio track.
    """
    if find_spec("av") is None:
        raise BadAudio(Defect.NEEDS_DECODER, f"{kind}, which needs PyAV: {EXTRA}")
    import av

    try:
        with av.open(file, mode="r", metadata_errors="replace") as container:
            if not container.streams.audio:
                raise BadAudio(Defect.NO_AUDIO, kind)
            track = container.streams.audio[0]
            yield MediaStream(track.rate, track.channels, _chunks(container, track), _stated_seconds(container, track))
    except (av.error.FFmpegError, ValueError) as error:
        raise BadAudio(Defect.UNREADABLE, f"{kind}, {getattr(error, 'strerror', None) or error}") from error


def _stated_seconds(container: "av.container.InputContainer", track: "av.AudioStream") -> float | None:
    """Return the length of a track as the container states it: for the track, in its tag (WebM, Matroska), or for the only one."""
    if track.duration and track.time_base:
        return float(track.duration * track.time_base)
    if clock := CLOCK.fullmatch(track.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    return container.duration / MICROSECONDS if container.duration and len(container.streams) == 1 else None


def _chunks(container: "av.container.InputContainer", track: "av.AudioStream") -> Iterator[np.ndarray]:
    """Yield the decoded track, in float32 at the rate and with the channels with which it began."""
    import av

    resampler = av.AudioResampler(format="fltp", layout=track.layout, rate=track.rate)
    for frame in container.decode(track):
        for even in resampler.resample(frame):
            yield even.to_ndarray().T
    for even in resampler.resample(None):
        yield even.to_ndarray().T
