"""The audio file of a corpus, CORPUS.npy, and its index, CORPUS.parquet.

The audio file is a one-dimensional int16 array at 16 kHz, the clips end to end in the order of their paths, to be memory-mapped. The
index has one row per file: the fields of `intake.Entry`, and `start`, the clip's first sample. Both depend on the files alone, not on the
number of processes.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import fields
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import SAMPLE_RATE, SAMPLE_TYPE
from ser_mlops.data.audio.intake import Entry, exit_with_parent, ingest_part
from ser_mlops.data.progress import progress
from ser_mlops.errors import DataError
from ser_mlops.files import DISK_FULL, remove, replacing

FILES_PER_PART = 16
MIN_FILES_PER_WORKER = 64
"""A process takes half a second to start; a running one decodes a few hundred files in that time."""
NUMBERS = {"start": "int64", "num_samples": "int64", "source_rate": "int64", "source_channels": "int64"}


def write_audio(
    files: Sequence[tuple[str, Path]], destination: Path, min_seconds: float, workers: int, keep_cut_off: bool = False
) -> pd.DataFrame:
    """Decode files, each given by its path in tables and its place on disk, and write the audio file with its index; return the index.

    Each process decodes parts of the file list to parts on disk, which are then joined in order: memory holds one clip per process.

    Raises:
        DataError: a worker was killed, or the disk is full or unreachable; the old files stay as they were.
    """
    try:
        return _write_audio(files, destination, min_seconds, workers, keep_cut_off)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise DataError(f"{destination.parent} is full ({error.strerror}): nothing was written") from error


def _write_audio(
    files: Sequence[tuple[str, Path]], destination: Path, min_seconds: float, workers: int, keep_cut_off: bool
) -> pd.DataFrame:
    destination.parent.mkdir(parents=True, exist_ok=True)
    for leftover in destination.parent.glob(f".{destination.stem}.*.tmp"):
        remove(leftover)
    with (
        replacing(destination) as aside,
        replacing(destination.with_suffix(".parquet")) as index_aside,
        TemporaryDirectory(dir=destination.parent, prefix=f".{destination.stem}.", suffix=".tmp") as folder,
    ):
        parts = [files[first : first + FILES_PER_PART] for first in range(0, len(files), FILES_PER_PART)]
        places = [Path(folder) / str(number) for number in range(len(parts))]
        with _workers(min(workers, len(files) // MIN_FILES_PER_WORKER)) as run, aside.open("wb") as file:
            taken = run(ingest_part, parts, repeat(min_seconds), repeat(keep_cut_off), places)
            entries = _join(zip(places, taken, strict=True), len(files), file, destination.stem)
        index = _index(entries)
        index.to_parquet(index_aside, index=False)
    return index


@contextmanager
def _workers(number: int) -> Iterator[Callable[..., Iterable[list[Entry]]]]:
    """Yield a `map` that runs on this many processes, or in this one."""
    if number <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"), initializer=exit_with_parent)
    try:
        yield pool.map
    except BrokenProcessPool:
        raise DataError("a decoding process was killed, most likely because memory ran out: nothing was written") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _join(parts: Iterable[tuple[Path, list[Entry]]], num_files: int, file: BinaryIO, name: str) -> list[Entry]:
    """Join the parts after a header. Its length does not depend on the number of samples, which is filled in at the end."""
    entries: list[Entry] = []
    _write_header(file, 0)
    header_bytes = file.tell()
    with progress(num_files, f"{name}: decoding", "clip") as bar:
        for place, taken in parts:
            with place.open("rb") as samples:
                shutil.copyfileobj(samples, file)
            place.unlink()
            entries += taken
            bar.update(len(taken))
    file.seek(0)
    _write_header(file, sum(entry.num_samples for entry in entries))
    assert file.tell() == header_bytes
    return entries


def _write_header(file: BinaryIO, num_samples: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": SAMPLE_TYPE.str, "fortran_order": False, "shape": (num_samples,)})


def _index(entries: list[Entry]) -> pd.DataFrame:
    index = pd.DataFrame(entries, columns=[field.name for field in fields(Entry)])
    index.insert(1, "start", index["num_samples"].cumsum() - index["num_samples"])
    index = index.astype(NUMBERS | {"path": "str", "defect": "str", "warnings": "str", "sha256": "str"})
    decoded = index["defect"] == ""
    usual = index.loc[decoded, "source_rate"].mode()
    unusual = decoded & (~index["source_rate"].isin(usual) | (index["source_rate"] < SAMPLE_RATE))
    index.loc[unusual, "warnings"] = (index.loc[unusual, "warnings"] + ", unusual rate").str.removeprefix(", ")
    return index
