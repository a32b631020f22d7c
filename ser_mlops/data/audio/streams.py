"""An audio file opened as a stream of blocks, whichever library decodes it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import soundfile

from ser_mlops.data.audio.format import FULL_SCALE
from ser_mlops.data.audio.headers import has_open_rf64, ogg_seconds, with_open_end
from ser_mlops.data.audio.media import open_media

BLOCK_FRAMES = 32_768
SHORT_BLOCK_FRAMES = 256
"""For a FLAC file that is cut off, of which libsndfile drops the block that it cannot finish."""
MISSING_OF_MEDIA = 0.25
"""Seconds by which m4a, webm and video may overstate the length of a track: they count what the encoder added at its ends."""
WHOLE_IN_INT16 = frozenset({"PCM_16", "PCM_S8", "PCM_U8"})
"""Sample formats that int16 holds exactly, and that libsndfile reads six times faster that way."""


@dataclass(frozen=True)
class Stream:
    """An opened file."""

    rate: int
    channels: int
    blocks: Iterator[np.ndarray]
    """Frames and channels, BLOCK_FRAMES frames each; only the last block, which may be empty, has fewer."""
    unit: int
    """Full scale of the blocks times this is full scale of int16: 1 for int16 blocks, FULL_SCALE for float32 blocks."""
    stated_seconds: float | None = None
    """Length that the container states for the track, where it is known without reading it."""
    is_least: bool = False
    """Whether the track is of that length or longer."""
    overstated_seconds: float = 0.0
    """By how much that length may be too large in a whole file."""


class _ForwardFile(soundfile.SoundFile):
    """A sound file read from start to end: soundfile seeks after every read otherwise, which fails in FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


def _forward(file: io.FileIO | io.BytesIO) -> _ForwardFile:
    return _ForwardFile(file.fileno(), closefd=False) if isinstance(file, io.FileIO) else _ForwardFile(file)


@contextmanager
def open_sound(file: io.FileIO | io.BytesIO, head: bytes, size: int) -> Iterator[Stream]:
    """Open what libsndfile reads; `head` is how the file of `size` bytes begins."""
    stated = ogg_seconds(file, head, size)
    file.seek(0)
    if not has_open_rf64(head):
        with _forward(file) as sound:
            if sound.frames or sound.format not in ("WAV", "WAVEX"):
                yield replace(_stream_of(sound), stated_seconds=stated, is_least=stated is not None)
                return
        file.seek(0)
    with _forward(io.BytesIO(with_open_end(file.read()))) as sound:
        yield _stream_of(sound)


def _stream_of(sound: soundfile.SoundFile) -> Stream:
    dtype, unit = ("int16", 1) if sound.subtype in WHOLE_IN_INT16 else ("float32", FULL_SCALE)

    def blocks() -> Iterator[np.ndarray]:
        while True:
            block = sound.read(BLOCK_FRAMES, dtype=dtype, always_2d=True)
            yield block
            if len(block) < BLOCK_FRAMES:
                return

    return Stream(sound.samplerate, sound.channels, blocks(), unit)


@contextmanager
def open_cut_off_flac(file: io.FileIO | io.BytesIO, stated_samples: int) -> Iterator[Stream]:
    """Open a FLAC file that ends before its header says, and read the whole blocks before the end."""
    file.seek(0)
    with _forward(file) as sound:

        def chunks() -> Iterator[np.ndarray]:
            try:
                while len(chunk := sound.read(SHORT_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                    yield chunk
            except soundfile.LibsndfileError:
                return

        yield Stream(sound.samplerate, sound.channels, _regrouped(chunks()), FULL_SCALE, stated_samples / sound.samplerate)


@contextmanager
def open_media_stream(file: BinaryIO, kind: str) -> Iterator[Stream]:
    file.seek(0)
    with open_media(file, kind) as media:
        blocks = _regrouped(media.chunks)
        yield Stream(media.rate, media.channels, blocks, FULL_SCALE, media.stated_seconds, overstated_seconds=MISSING_OF_MEDIA)


def _regrouped(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield blocks of BLOCK_FRAMES frames and a shorter last one from chunks of any length."""
    waiting: list[np.ndarray] = []
    num_waiting, empty = 0, np.empty((0, 1), dtype=np.float32)
    for chunk in chunks:
        waiting.append(chunk)
        num_waiting += len(chunk)
        while num_waiting >= BLOCK_FRAMES:
            joined = np.concatenate(waiting)
            yield joined[:BLOCK_FRAMES]
            waiting, num_waiting = [joined[BLOCK_FRAMES:]], num_waiting - BLOCK_FRAMES
    yield np.concatenate(waiting) if waiting else empty
