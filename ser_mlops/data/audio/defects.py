"""Why an audio file cannot be used, and the content that is refused before anybody tries to decode it."""

from codecs import getincrementaldecoder
from enum import StrEnum

from ser_mlops.errors import DataError

SOUND_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"NIST_1A", b"#!AMR")
"""How sound files begin whose first bytes may all be text."""
OTHER_MAGIC = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF file",
}
"""How files begin that are copied or downloaded in the place of a recording."""
CONTROL_BYTES = frozenset({*range(32), 127} - {9, 10, 12, 13})


class Defect(StrEnum):
    """Why a file cannot be used."""

    UNREADABLE = "unreadable"
    EMPTY = "empty file"
    LFS_POINTER = "Git LFS pointer"
    APPLE_DOUBLE = "AppleDouble stub"
    TEXT = "text, not audio"
    NEEDS_DECODER = "needs another decoder"
    NO_AUDIO = "no audio track"
    CUT_OFF = "cut off"
    UNUSABLE_RATE = "unusable rate"
    NO_SAMPLES = "no samples"
    NOT_FINITE = "NaN or infinite samples"
    ALL_ZEROS = "all zeros"
    CONSTANT = "constant samples"
    ALL_CLIPPED = "clipped throughout"
    OUT_OF_SCALE = "samples far beyond full scale"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"


OTHER_CONTENT = frozenset({Defect.UNREADABLE, Defect.EMPTY, Defect.LFS_POINTER, Defect.APPLE_DOUBLE, Defect.TEXT, Defect.NO_AUDIO})
"""Defects of a file that may be no recording at all."""


class BadAudio(DataError):
    """Audio that cannot be used; the message says why."""

    def __init__(self, defect: Defect, detail: str = "") -> None:
        super().__init__(f"{defect}: {detail}" if detail else str(defect))
        self.defect = defect


def defect_in(reason: str) -> str:
    """Return the defect that a reason begins with, to count clips by it; any other reason stays as it is.

    >>> defect_in("cut off: 0.6 of 2.0 s"), defect_in("emotion: calm")
    ('cut off', 'emotion: calm')
    """
    beginning = reason.partition(": ")[0]
    return beginning if beginning in set(Defect) else reason


def refuse_other_content(head: bytes) -> None:
    """Raise BadAudio if a file that begins like this is no recording, or one that nobody here can decode."""
    if not head:
        raise BadAudio(Defect.EMPTY)
    if head.startswith(b"version https://git-lfs"):
        raise BadAudio(Defect.LFS_POINTER, "run `git lfs pull` where it came from")
    if head.startswith((b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")):
        raise BadAudio(Defect.APPLE_DOUBLE)
    for magic, kind in OTHER_MAGIC.items():
        if head.startswith(magic):
            raise BadAudio(Defect.UNREADABLE, f"{kind}, not audio")
    if head.startswith(b"NIST_1A") and (b"shorten" in head or b"wavpack" in head or b"shortpack" in head):
        raise BadAudio(Defect.NEEDS_DECODER, "compressed NIST SPHERE, convert it with `sph2pipe -f wav`")
    if head.startswith(b"ajkg"):
        raise BadAudio(Defect.NEEDS_DECODER, "shorten, convert it with `ffmpeg` or `shorten -x`")
    if not head.startswith(SOUND_MAGIC) and _is_text(head):
        raise BadAudio(Defect.TEXT)


def _is_text(head: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(head)  # a character cut off at the end of the head is fine
    except UnicodeDecodeError:
        return False
    return CONTROL_BYTES.isdisjoint(head)
