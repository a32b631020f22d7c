"""Decode audio files: one function with one result, mono int16 at 16 kHz, for ingest, prediction and serving alike.

- The format follows from the content, never from the suffix: what libsndfile reads (wav of every width, aiff, au, caf, w64, NIST SPHERE,
  flac, ogg, mp3, streams of unknown length), and what PyAV reads where it is installed (media.py).
- Mono is the mean of the channels.
- Rates other than 16 kHz go through soxr HQ; n samples at rate r become floor(n * 16000 / r + 1/2) samples.
- int16 is x * 32768 rounded half to even and clipped to [-32768, 32767], so 16-bit mono at 16 kHz passes unchanged.
- Float samples that hold int16 values instead of values in [-1, 1] are read as int16 (`_unit_of`).
- A file that ends before its header says is refused, or kept on request.

Files are read in blocks of a fixed size, so what a header claims is never allocated, and only the result grows with the length.
"""

import errno
import io
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ser_mlops.data.audio.defects import BadAudio, Defect, refuse_other_content
from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.data.audio.headers import extent_of, flac_samples
from ser_mlops.data.audio.media import kind_of
from ser_mlops.data.audio.streams import BLOCK_FRAMES, Stream, open_cut_off_flac, open_media_stream, open_sound
from ser_mlops.errors import DataError

MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Rates beyond these are broken headers; 1 Hz would blow a clip up 16,000 times."""
MAX_SECONDS = 4 * 3600.0
"""A small file can claim, or compress, days of silence."""
HEAD_BYTES = 1024
MISSING_SECONDS = 0.01
"""A file that lacks less than this is whole: some writers count their header as samples."""
LOUDEST = 8.0
"""Float samples up to this are clipped at full scale, 1; recordings with a peak beyond it are in another unit."""
QUIETEST_INT16 = 256.0
"""Values that are not whole numbers are taken for int16 from this peak on: below it, they might be a recording with far too much gain."""
ALL_CLIPPED_SHARE = 0.95
DIFFERENT_POWER = 1e-4
"""Channels differ if what distinguishes them is louder than this share (-40 dB) of their mean."""
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


@dataclass(frozen=True)
class Decoded:
    """One clip, and what its source was like."""

    samples: np.ndarray
    """int16, mono, at 16 kHz."""
    source_rate: int
    source_channels: int
    num_clipped: int
    """Source samples at full scale, over all channels."""
    channels_differ: bool = False
    """Whether mixing the channels down lost something."""
    is_rescaled: bool = False
    """Whether float samples held int16 values."""
    missing_seconds: float = 0.0
    """What a file that was cut off lacks; more than 0 only where it is kept."""


@dataclass
class _Levels:
    """What is measured over the blocks of a clip, in their unit."""

    num_frames: int = 0
    num_clipped: int = 0
    low: float = np.inf
    high: float = -np.inf
    is_whole: bool = True
    """All samples are whole numbers."""
    difference: float = 0.0
    """Sum of squares of what distinguishes the channels."""
    power: float = 0.0
    """Sum of squares of their mean."""

    def add(self, block: np.ndarray, wave: np.ndarray, unit: int) -> None:
        """Add a block and its mean over the channels."""
        self.num_frames += len(block)
        if not len(block):
            return
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise BadAudio(Defect.NOT_FINITE)
        bottom, top = -FULL_SCALE / unit, (FULL_SCALE - 1) / unit
        if low <= bottom or high >= top:
            self.num_clipped += int(np.count_nonzero((block <= bottom) | (block >= top)))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.is_whole = self.is_whole and (block.dtype == np.int16 or bool((block == np.rint(block)).all()))
        if block.shape[1] > 1 and (block != block[:, :1]).any():
            spread = block.max(axis=1).astype(np.float64) - block.min(axis=1)
            self.difference += float(np.square(spread).sum())
        if block.shape[1] > 1:
            self.power += float(np.square(wave, dtype=np.float64).sum())

    @property
    def peak(self) -> float:
        return max(self.high, -self.low)


@dataclass(frozen=True)
class _Limits:
    min_seconds: float
    max_seconds: float
    keep_cut_off: bool


def decode(
    source: Path | bytes | BinaryIO, min_seconds: float = 0.0, max_seconds: float = MAX_SECONDS, keep_cut_off: bool = False
) -> Decoded:
    """Decode one audio file, given by its path, its bytes or a file object that is read to its end.

    Raises:
        BadAudio: it cannot be used; see `Defect`.
        DataError: the storage is unreachable, which says nothing about the file.
    """
    limits = _Limits(min_seconds, max_seconds, keep_cut_off)
    try:
        if isinstance(source, Path):
            with source.open("rb", buffering=0) as file:
                return _decode(file, limits)
        return _decode(io.BytesIO(source if isinstance(source, bytes) else source.read()), limits)
    except soundfile.LibsndfileError as error:
        raise BadAudio(Defect.UNREADABLE, error.error_string) from error
    except OSError as error:
        if error.errno in TRANSIENT:
            name = source if isinstance(source, Path) else "the recording"
            raise DataError(f"{name} cannot be read right now ({error.strerror}): try again when the storage is reachable") from error
        raise BadAudio(Defect.UNREADABLE, error.strerror or str(error)) from error


def _decode(file: io.FileIO | io.BytesIO, limits: _Limits) -> Decoded:
    head = file.read(HEAD_BYTES)
    refuse_other_content(head)
    kind = kind_of(head)
    if kind is not None:
        return _read(lambda: open_media_stream(file, kind), None, limits)
    size = os.fstat(file.fileno()).st_size if isinstance(file, io.FileIO) else len(file.getbuffer())
    extent = extent_of(file, size)
    whole_share = extent.stated / max(extent.present, 1) if extent else None
    try:
        return _read(lambda: open_sound(file, head, size), whole_share, limits)
    except soundfile.LibsndfileError as error:
        if extent:
            raise BadAudio(Defect.CUT_OFF, f"{extent.present:,} of {extent.stated:,} bytes") from error
        stated = flac_samples(head)
        if not stated or file.tell() < size:
            raise
    return _read(lambda: open_cut_off_flac(file, stated), None, limits)


def _read(opened: Callable[[], AbstractContextManager[Stream]], whole_share: float | None, limits: _Limits) -> Decoded:
    """Read a file that `opened` opens anew at every call, once or, where float samples hold int16 values, twice.

    `whole_share` is the stated length relative to the present one, where a header tells that the file was cut off.
    """
    with opened() as stream:
        samples, levels = _samples(stream, limits.max_seconds)
    unit = stream.unit if stream.unit == 1 else _unit_of(levels)
    is_rescaled = unit != stream.unit
    if is_rescaled:
        with opened() as stream:
            stream = replace(stream, unit=unit)
            samples, levels = _samples(stream, limits.max_seconds)
    present_s = levels.num_frames / stream.rate
    stated_s = present_s * whole_share if whole_share else stream.stated_seconds or 0.0
    missing_s = stated_s - present_s if stated_s - present_s > MISSING_SECONDS + stream.overstated_seconds else 0.0
    if missing_s and not limits.keep_cut_off:
        digits = 1 if f"{present_s:.1f}" != f"{stated_s:.1f}" else 2
        raise BadAudio(Defect.CUT_OFF, f"{present_s:.{digits}f} of {'at least ' * stream.is_least}{stated_s:.{digits}f} s")
    _refuse_unusable(samples, levels, stream.channels, limits.min_seconds)
    differ = levels.difference > DIFFERENT_POWER * levels.power
    return Decoded(samples, stream.rate, stream.channels, levels.num_clipped, differ, is_rescaled, missing_s)


def _samples(stream: Stream, max_seconds: float) -> tuple[np.ndarray, _Levels]:
    """Read a stream to its end; return mono int16 samples at 16 kHz, and the levels of the source."""
    rate = stream.rate
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadAudio(Defect.UNUSABLE_RATE, f"{rate} Hz, expected {MIN_RATE:,} to {MAX_RATE:,}")
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ") if rate != SAMPLE_RATE else None
    pieces: list[np.ndarray] = []
    levels = _Levels()
    for block in stream.blocks:
        wave = _mono(block)
        levels.add(block, wave, stream.unit)
        if levels.num_frames > max_seconds * rate:
            raise BadAudio(Defect.TOO_LONG, f"more than {max_seconds:,g} s")
        pieces.append(_to_int16(resampler.resample_chunk(wave, last=len(block) < BLOCK_FRAMES) if resampler else wave, stream.unit))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces), levels


def _unit_of(levels: _Levels) -> int:
    """Return the unit of float samples: FULL_SCALE if they lie in [-1, 1], give or take; 1 if they are int16 values.

    Raises:
        BadAudio: they are neither.
    """
    if levels.num_frames == 0 or levels.peak < 2 or (levels.peak <= LOUDEST and not levels.is_whole):
        return FULL_SCALE
    if levels.peak > FULL_SCALE or not (levels.is_whole or levels.peak > QUIETEST_INT16):
        raise BadAudio(Defect.OUT_OF_SCALE, f"peak {levels.peak:,.6g}, full scale is 1")
    return 1


def _mono(block: np.ndarray) -> np.ndarray:
    """Return the mean of the channels in float32, in the unit of the block: resampling is linear, and units are powers of two."""
    return block[:, 0].astype(np.float32, copy=False) if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _to_int16(wave: np.ndarray, unit: int) -> np.ndarray:
    rounded = np.rint(wave if unit == 1 else wave * np.float32(unit))
    np.maximum(rounded, -FULL_SCALE, out=rounded)
    return np.minimum(rounded, FULL_SCALE - 1, out=rounded).astype(np.int16)


def _refuse_unusable(samples: np.ndarray, levels: _Levels, num_channels: int, min_seconds: float) -> None:
    if levels.num_frames == 0 or len(samples) == 0:
        raise BadAudio(Defect.NO_SAMPLES)
    if not samples.any():
        cancel = levels.power < DIFFERENT_POWER * levels.difference
        raise BadAudio(Defect.ALL_ZEROS, "the channels cancel each other out, one is the other inverted" if cancel else "")
    if levels.low == levels.high:
        raise BadAudio(Defect.CONSTANT)
    if levels.num_clipped > ALL_CLIPPED_SHARE * levels.num_frames * num_channels:
        share = levels.num_clipped / (levels.num_frames * num_channels)
        raise BadAudio(Defect.ALL_CLIPPED, f"{share:.0%} of the samples are at full scale")
    if len(samples) < min_seconds * SAMPLE_RATE:
        raise BadAudio(Defect.TOO_SHORT, f"{len(samples) / SAMPLE_RATE:.3f} s, expected at least {min_seconds:g} s")
