"""Decode one file for a corpus and describe it: its source, what is wrong with it, how loud it is. No pandas, so that workers start fast.

Levels are measured on the decoded clip: peak relative to full scale; rms_db in dB relative to full scale; silence_share, the share of
20 ms windows whose power lies 40 dB or more below that of the loudest one (recordings differ in gain, so silence is relative).
"""

import hashlib
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

import numpy as np

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE, SAMPLE_TYPE

WINDOW = SAMPLE_RATE // 50
SILENCE_DB = -40.0
MUCH_SILENCE = 0.6
KEPT_BYTES = 1 << 24
"""glibc keeps freed memory up to twice the largest block that it ever unmapped: 78 page faults a clip become none."""
MANY_CLIPPED = 10
"""Source samples at full scale before a clip counts as clipped: a normalised clip touches full scale once or twice."""


@dataclass(frozen=True)
class Entry:
    """One row of the index, except for `start`. A defect leaves all fields after it empty."""

    path: str
    defect: str
    num_samples: int = 0
    sha256: str = ""
    source_rate: int = 0
    source_channels: int = 0
    warnings: str = ""
    peak: float = 0.0
    rms_db: float = 0.0
    silence_share: float = 0.0


def ingest(path: str, file: Path, min_seconds: float, keep_cut_off: bool) -> tuple[Entry, np.ndarray]:
    """Decode one file; return its entry under the name `path`, and its samples (none if it has a defect)."""
    try:
        clip = decode(file, min_seconds, keep_cut_off=keep_cut_off)
    except BadAudio as error:
        return Entry(path, str(error)), np.empty(0, dtype=np.int16)
    peak, rms_db, silence_share = measure(clip.samples)
    seen = {
        "clipped samples": clip.num_clipped >= MANY_CLIPPED,
        "much silence": silence_share > MUCH_SILENCE,
        "channels differ": clip.channels_differ,
        "int16 values in float samples": clip.is_rescaled,
        "cut off": clip.missing_seconds > 0,
    }
    warnings = ", ".join(warning for warning, applies in seen.items() if applies)
    digest = hashlib.sha256(clip.samples.astype(SAMPLE_TYPE, copy=False).data).hexdigest()
    entry = Entry(path, "", len(clip.samples), digest, clip.source_rate, clip.source_channels, warnings, peak, rms_db, silence_share)
    return entry, clip.samples


def ingest_part(files: Sequence[tuple[str, Path]], min_seconds: float, keep_cut_off: bool, part: Path) -> list[Entry]:
    """Decode some files, write their samples to the file `part`, end to end, and return their entries."""
    np.empty(KEPT_BYTES, dtype=np.uint8)
    entries = []
    with part.open("wb") as samples_file:
        for path, file in files:
            entry, samples = ingest(path, file, min_seconds, keep_cut_off)
            samples_file.write(samples.astype(SAMPLE_TYPE, copy=False).data)
            entries.append(entry)
    return entries


def measure(samples: np.ndarray) -> tuple[float, float, float]:
    """Return peak, rms_db and silence_share of int16 samples that are not all zeros.

    >>> measure(np.array([16384, -16384] * WINDOW, dtype=np.int16))
    (0.5, -6.0206, 0.0)
    """
    wave = samples * np.float32(1 / FULL_SCALE)
    peak = max(int(samples.max()), -int(samples.min())) / FULL_SCALE
    whole = wave[: len(wave) // WINDOW * WINDOW].reshape(-1, WINDOW)
    powers = np.einsum("ws,ws->w", whole, whole) / WINDOW if len(whole) else np.ones(1)
    rms_db = 10 * np.log10(np.square(wave).mean(dtype=np.float64))  # not np.dot: its threads stall where every core decodes
    silent = powers <= powers.max() * 10 ** (SILENCE_DB / 10)
    return round(peak, 4), round(float(rms_db), 4), round(float(silent.mean()), 4)


def exit_with_parent() -> None:
    """Leave Ctrl-C to the parent, and exit when the parent is gone: a pool's workers would wait forever for one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def wait_and_exit() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_exit, daemon=True).start()
