"""What the header of a sound file says about its length, to tell a recording that was cut off while it was copied from a whole one.

Read are wav of all kinds (RIFF, RIFX, RF64, W64), AIFF, AU, CAF and NIST SPHERE by the bytes of their samples, FLAC by its number of
samples, MP3 by the bytes that its encoder notes in the first frame (Xing, Info), and Ogg (Opus, Vorbis) by the page within which the file
ends: each states its own size, and the time at its end. Headers of streams, whose writer could not know the
length, state 0 or a placeholder near the largest number.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

PLACEHOLDER_32 = 0x7F000000
"""From here on a size is a placeholder: pipes get 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox), 0x7F000008 (sox, AIFF), 0x80000000 (arecord)."""
PLACEHOLDER_64 = 1 << 36
DS64_DATA_SIZE = slice(28, 36)
"""Where an RF64 file states the bytes of its samples."""
MP3_TOLERANCE = 0.01
"""Encoders and taggers count a tag in or out: libmpg123, too, warns beyond this share only."""
MAX_CHUNKS = 1000
FLAC_LARGEST = (1 << 36) - 1
OGG_PAGE_HEADER, OGG_LARGEST_PAGE = 27, 65_307
OPUS_RATE = 48_000


@dataclass(frozen=True)
class Extent:
    """How many bytes of samples a file should have, and how many it has."""

    stated: int
    present: int


@dataclass(frozen=True)
class _Layout:
    """How a format of chunks is laid out."""

    start: int
    name_bytes: int
    size_format: str
    data: bytes
    size_includes_header: bool = False
    alignment: int = 1


LAYOUTS = {
    b"RIFF": _Layout(12, 4, "<I", b"data", alignment=2),
    b"RIFX": _Layout(12, 4, ">I", b"data", alignment=2),
    b"RF64": _Layout(12, 4, "<I", b"data", alignment=2),
    b"FORM": _Layout(12, 4, ">I", b"SSND", alignment=2),
    b"riff": _Layout(40, 16, "<Q", b"data", size_includes_header=True, alignment=8),
    b"caff": _Layout(8, 4, ">Q", b"data"),
}


def extent_of(file: BinaryIO, size: int) -> Extent | None:
    """Compare the length that a header states with the file; None where it states none, or no more than the file has.

    Args:
        file: where to read; it is left at any place.
        size: bytes of the whole file.
    """
    file.seek(0)
    head = file.read(1024)
    layout = LAYOUTS.get(head[:4])
    find = _find_in_chunks(layout) if layout else {b".snd": _find_in_au, b"NIST": _find_in_sphere}.get(head[:4], _find_in_mp3)
    found = find(file, head)
    if found is None:
        return None
    offset, stated = found
    return Extent(stated, max(size - offset, 0)) if stated > size - offset else None


def has_open_rf64(head: bytes) -> bool:
    """Say whether a file begins as an RF64 file whose writer did not know its length, at which libsndfile stops.

    >>> has_open_rf64(b"RIFF")
    False
    """
    if not head.startswith(b"RF64") or head[12:16] != b"ds64":
        return False
    return not 0 < int.from_bytes(head[DS64_DATA_SIZE], "little") < PLACEHOLDER_64


def with_open_end(content: bytes) -> bytes:
    """Extend an empty data chunk, which writers to a pipe leave behind, to the end of the file, unless another chunk follows."""
    start = 12
    while start + 8 <= len(content):
        name, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if name == b"data" and content.startswith(b"RF64"):
            return content[: DS64_DATA_SIZE.start] + struct.pack("<Q", len(content) - start - 8) + content[DS64_DATA_SIZE.stop :]
        if name == b"data":
            is_open = size == 0 and not content[start + 8 : start + 12].strip().isalnum()
            return content[: start + 4] + b"\xff\xff\xff\xff" + content[start + 8 :] if is_open else content
        start += 8 + size + size % 2
    return content


def flac_samples(head: bytes) -> int:
    """Return the number of samples that a FLAC file states in its first bytes; 0 where it states none, or is no FLAC file.

    >>> flac_samples(b"RIFF")
    0
    """
    if not head.startswith(b"fLaC") or len(head) < 26:
        return 0
    stated = int.from_bytes(head[21:26], "big") & FLAC_LARGEST
    return 0 if stated == FLAC_LARGEST else stated


def ogg_seconds(file: BinaryIO, head: bytes, size: int) -> float | None:
    """Return the time up to which an Ogg file that ends within a page has sound at least; None where it ends with a whole page."""
    opus, vorbis = head.find(b"OpusHead"), head.find(b"\x01vorbis")
    if not head.startswith(b"OggS") or max(opus, vorbis) < 0:
        return None
    file.seek(max(size - OGG_LARGEST_PAGE, 0))
    tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if not page.startswith(b"OggS") or len(page) < OGG_PAGE_HEADER:
        return None
    num_segments = page[OGG_PAGE_HEADER - 1]
    segments = page[OGG_PAGE_HEADER : OGG_PAGE_HEADER + num_segments]
    if len(segments) == num_segments and len(page) >= OGG_PAGE_HEADER + num_segments + sum(segments):
        return None
    position = int.from_bytes(page[6:14], "little", signed=True)
    if opus >= 0:
        return (position - int.from_bytes(head[opus + 10 : opus + 12], "little")) / OPUS_RATE
    return position / max(int.from_bytes(head[vorbis + 12 : vorbis + 16], "little"), 1)


def _find_in_chunks(layout: _Layout) -> Callable[[BinaryIO, bytes], tuple[int, int] | None]:
    header_bytes = layout.name_bytes + struct.calcsize(layout.size_format)

    def find(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
        place, size_of_long_data = layout.start, 0
        for _ in range(MAX_CHUNKS):
            header = head[place : place + header_bytes]
            if len(header) < header_bytes:
                file.seek(place)
                header = file.read(header_bytes)
            if len(header) < header_bytes:
                return None
            name, (size,) = header[: layout.name_bytes], struct.unpack(layout.size_format, header[layout.name_bytes :])
            place += header_bytes
            size -= header_bytes if layout.size_includes_header else 0
            if name == b"ds64":
                file.seek(place + 8)
                size_of_long_data = int.from_bytes(file.read(8), "little")
            if name.startswith(layout.data):
                is_long = head.startswith(b"RF64") and size == 0xFFFFFFFF
                return _known(place, size_of_long_data if is_long else size, is_long or layout.size_format.endswith("Q"))
            if size < 0:
                return None
            place += size + -(size + (header_bytes if layout.size_includes_header else 0)) % layout.alignment
        return None

    return find


def _find_in_au(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    if len(head) < 12:
        return None
    offset, size = struct.unpack(">II", head[4:12])
    return _known(offset, size, is_long=False)


def _find_in_sphere(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    offset = re.match(rb"NIST_1A\s+(\d+)", head)
    numbers = [re.search(rb"\n%s -(?:i|s\d+) (\d+)" % name, head) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if offset is None or None in numbers:
        return None
    return _known(int(offset[1]), prod(int(number[1]) for number in numbers if number), is_long=True)


def _find_in_mp3(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    start = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(64)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # 11 bits of synchronisation, layer III
        return None
    is_mpeg_1, is_mono = frame[1] & 0x18 == 0x18, frame[3] & 0xC0 == 0xC0
    note = frame[4 + {(True, False): 32, (False, True): 9}.get((is_mpeg_1, is_mono), 17) :]
    flags = int.from_bytes(note[4:8], "big")
    if note[:4] not in (b"Xing", b"Info") or not flags & 2:
        return None
    stated = int.from_bytes(note[12:16] if flags & 1 else note[8:12], "big")
    return _known(start, int(stated * (1 - MP3_TOLERANCE)), is_long=False)


def _known(offset: int, stated: int, is_long: bool) -> tuple[int, int] | None:
    return (offset, stated) if 0 < stated < (PLACEHOLDER_64 if is_long else PLACEHOLDER_32) else None
