"""Files that are whole or absent: written aside, flushed to disk and renamed into place; and their hashes."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a disk, or of a user's share of it, that holds no more."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder to; rename it over `path` at the end.

    An exception removes what was written and leaves the old `path` as it was. A file is replaced in one step; a folder in
    two (the old one is moved aside first), so a kill between the two leaves `path` absent, never half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield aside
        _flush(aside)
        if aside.is_dir() and path.exists():
            old = aside.with_suffix(".old")
            os.rename(path, old)
            os.rename(aside, path)
            shutil.rmtree(old)
        else:
            os.replace(aside, path)
        _flush_entry(path.parent)
    finally:
        remove(aside)


def _flush(path: Path) -> None:
    """Bring a file, or a folder with the files in it, to disk."""
    if path.is_dir():
        for child in path.iterdir():
            if child.is_file():
                _flush_entry(child)
    _flush_entry(path)


def _flush_entry(path: Path) -> None:
    """Bring a file's bytes or a folder's list of names to disk; what lies in the folder is left alone, for others may be writing it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hand_over(source: Path, destination: Path) -> None:
    """Put the files of a folder, which is removed afterwards, into another one: by a second name for each, or as copies on another disk.

    A second name is made in one step and costs as little for weights of a gigabyte as for a line. Doing it again is harmless.
    """
    for file in source.rglob("*"):
        place = destination / file.relative_to(source)
        if file.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and place.samefile(file):
            continue
        try:
            os.link(file, place)
        except OSError:  # another disk, or what an earlier try left there
            shutil.copyfile(file, place)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def size_in_words(num_bytes: int) -> str:
    """Return a size as people read it.

    >>> size_in_words(8_100), size_in_words(1_700_000), size_in_words(150_900_000_000)
    ('8.1 kB', '1.7 MB', '150.9 GB')
    """
    unit, factor = next(((unit, factor) for unit, factor in (("GB", 1e9), ("MB", 1e6)) if num_bytes >= factor / 10), ("kB", 1e3))
    return f"{num_bytes / factor:,.1f} {unit}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    return _hash_of(path, hashlib.sha256())


def md5_of(path: Path) -> str:
    """Return the MD5 of a file's bytes, in hex, as DVC writes it into dvc.lock for a single file."""
    return _hash_of(path, hashlib.md5(usedforsecurity=False))


def _hash_of(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
