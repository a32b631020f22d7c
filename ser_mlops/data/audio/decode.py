"""Decode audio files: one function with one result, mono int16 at 16 kHz, for ingest, prediction and serving alike.

- The format follows from the content, never from the suffix: wav of every width, aiff, flac, ogg, mp3, and streams of unknown length.
- Mono is the mean of the channels.
- Rates other than 16 kHz go through soxr HQ; n samples at rate r become floor(n * 16000 / r + 1/2) samples.
- int16 is x * 32768 rounded half to even and clipped to [-32768, 32767], so 16-bit mono at 16 kHz passes unchanged.

Files are read in blocks of a fixed size, so what a header claims is never allocated, and only the result grows with the length.
"""

import errno
import io
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.errors import DataError

MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Rates beyond these are broken headers; 1 Hz would blow a clip up 16,000 times."""
MAX_SECONDS = 4 * 3600.0
"""A small file can claim, or compress, days of silence."""
BLOCK_FRAMES = 32_768
HEAD_BYTES = 512
WHOLE_IN_INT16 = frozenset({"PCM_16", "PCM_S8", "PCM_U8"})
"""Sample formats that int16 holds exactly, and that libsndfile reads six times faster that way."""
TRANSIENT = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
    }
)
"""Errors of the storage or the machine, not of a file: recorded as a defect, an outage would leave its clips out for good."""
CONTAINER_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff")
CONTROL_BYTES = frozenset({*range(32), 127} - {9, 10, 12, 13})


class Defect(StrEnum):
    """Why a file cannot be used."""

    UNREADABLE = "unreadable"
    EMPTY = "empty file"
    LFS_POINTER = "Git LFS pointer"
    APPLE_DOUBLE = "AppleDouble stub"
    TEXT = "text, not audio"
    UNUSABLE_RATE = "unusable rate"
    NO_SAMPLES = "no samples"
    NOT_FINITE = "NaN or infinite samples"
    ALL_ZEROS = "all zeros"
    CONSTANT = "constant samples"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"


class BadAudio(DataError):
    """Audio that cannot be used; the message says why."""

    def __init__(self, defect: Defect, detail: str = "") -> None:
        super().__init__(f"{defect}: {detail}" if detail else str(defect))
        self.defect = defect


@dataclass(frozen=True)
class Decoded:
    """One clip, and what its source was like."""

    samples: np.ndarray
    """int16, mono, at 16 kHz."""
    source_rate: int
    source_channels: int
    num_clipped: int
    """Source samples at full scale, over all channels."""


def decode(source: Path | bytes | BinaryIO, min_seconds: float = 0.0, max_seconds: float = MAX_SECONDS) -> Decoded:
    """Decode one audio file, given by its path, its bytes or a file object that is read to its end.

    Raises:
        BadAudio: it cannot be used; see `Defect`.
        DataError: the storage is unreachable, which says nothing about the file.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb", buffering=0) as file:
                return _decode(file, min_seconds, max_seconds)
        return _decode(io.BytesIO(source if isinstance(source, bytes) else source.read()), min_seconds, max_seconds)
    except soundfile.LibsndfileError as error:
        raise BadAudio(Defect.UNREADABLE, error.error_string) from error
    except OSError as error:
        if error.errno in TRANSIENT:
            name = source if isinstance(source, Path) else "the recording"
            raise DataError(f"{name} cannot be read right now ({error.strerror}): try again when the storage is reachable") from error
        raise BadAudio(Defect.UNREADABLE, error.strerror or str(error)) from error


def _decode(file: io.FileIO | io.BytesIO, min_seconds: float, max_seconds: float) -> Decoded:
    _refuse_other_content(file.read(HEAD_BYTES))
    file.seek(0)
    with _open(file) as sound:
        if not sound.frames and sound.format in ("WAV", "WAVEX"):
            file.seek(0)
            with _open(io.BytesIO(_with_open_end(file.read()))) as sound_to_the_end:
                return _read(sound_to_the_end, min_seconds, max_seconds)
        return _read(sound, min_seconds, max_seconds)


class _ForwardFile(soundfile.SoundFile):
    """A sound file read from start to end: soundfile seeks after every read otherwise, which fails in FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


def _open(file: io.FileIO | io.BytesIO) -> _ForwardFile:
    return _ForwardFile(file.fileno(), closefd=False) if isinstance(file, io.FileIO) else _ForwardFile(file)


def _refuse_other_content(head: bytes) -> None:
    if not head:
        raise BadAudio(Defect.EMPTY)
    if head.startswith(b"version https://git-lfs"):
        raise BadAudio(Defect.LFS_POINTER, "run `git lfs pull` where it came from")
    if head.startswith((b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")):
        raise BadAudio(Defect.APPLE_DOUBLE)
    if not head.startswith(CONTAINER_MAGIC) and _is_text(head):
        raise BadAudio(Defect.TEXT)


def _is_text(head: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(head)  # a character cut off at the end of the head is fine
    except UnicodeDecodeError:
        return False
    return CONTROL_BYTES.isdisjoint(head)


def _with_open_end(content: bytes) -> bytes:
    """Extend an empty data chunk, which writers to a pipe leave behind, to the end of the file, unless another chunk follows."""
    start = 12
    while start + 8 <= len(content):
        name, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if name == b"data":
            is_open = size == 0 and not content[start + 8 : start + 12].strip().isalnum()
            return content[: start + 4] + b"\xff\xff\xff\xff" + content[start + 8 :] if is_open else content
        start += 8 + size + size % 2
    return content


def _read(sound: soundfile.SoundFile, min_seconds: float, max_seconds: float) -> Decoded:
    rate = sound.samplerate
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadAudio(Defect.UNUSABLE_RATE, f"{rate} Hz, expected {MIN_RATE:,} to {MAX_RATE:,}")
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ") if rate != SAMPLE_RATE else None
    dtype, unit = ("int16", 1) if sound.subtype in WHOLE_IN_INT16 else ("float32", FULL_SCALE)
    bottom, top = -FULL_SCALE / unit, (FULL_SCALE - 1) / unit
    pieces: list[np.ndarray] = []
    num_clipped = num_frames = 0
    low, high = np.inf, -np.inf
    for block in _blocks(sound, dtype):
        num_frames += len(block)
        if num_frames > max_seconds * rate:
            raise BadAudio(Defect.TOO_LONG, f"more than {max_seconds:,g} s")
        if len(block):
            least, most = float(block.min()), float(block.max())
            if not np.isfinite([least, most]).all():
                raise BadAudio(Defect.NOT_FINITE)
            if least <= bottom or most >= top:
                num_clipped += int(np.count_nonzero((block <= bottom) | (block >= top)))
            low, high = min(low, least), max(high, most)
        wave = _mono(block)
        pieces.append(_to_int16(resampler.resample_chunk(wave, last=len(block) < BLOCK_FRAMES) if resampler else wave, unit))
    samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    _refuse_unusable(samples, num_frames, low, high, min_seconds)
    return Decoded(samples, rate, sound.channels, num_clipped)


def _blocks(sound: soundfile.SoundFile, dtype: str) -> Iterator[np.ndarray]:
    """Yield blocks of frames and channels; only the last one, which may be empty, has fewer than BLOCK_FRAMES frames."""
    while True:
        block = sound.read(BLOCK_FRAMES, dtype=dtype, always_2d=True)
        yield block
        if len(block) < BLOCK_FRAMES:
            return


def _mono(block: np.ndarray) -> np.ndarray:
    """Return the mean of the channels in float32, in the unit of the block: resampling is linear, and units are powers of two."""
    return block[:, 0].astype(np.float32, copy=False) if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _to_int16(wave: np.ndarray, unit: int) -> np.ndarray:
    rounded = np.rint(wave * np.float32(unit))
    return np.clip(rounded, -FULL_SCALE, FULL_SCALE - 1, out=rounded).astype(np.int16)


def _refuse_unusable(samples: np.ndarray, num_frames: int, low: float, high: float, min_seconds: float) -> None:
    if num_frames == 0 or len(samples) == 0:
        raise BadAudio(Defect.NO_SAMPLES)
    if not samples.any():
        raise BadAudio(Defect.ALL_ZEROS)
    if low == high:
        raise BadAudio(Defect.CONSTANT)
    if len(samples) < min_seconds * SAMPLE_RATE:
        raise BadAudio(Defect.TOO_SHORT, f"{len(samples) / SAMPLE_RATE:.3f} s, expected at least {min_seconds:g} s")
