"""How fast do 48 kHz recordings become a corpus's audio file, and does memory grow with the corpus?

Clips of three to four and a half seconds, 48 kHz, 16 bit, mono, like RAVDESS: 120 synthetic ones under many names. Ours decodes, checks,
hashes, measures and writes them, the start of its processes included; the loop is `librosa.load(path, sr=16000)` and keeps nothing;
`datasets` reads every clip through its Audio feature at 16 kHz and keeps nothing either. `--scale 10` shows memory at ten times the clips.
"""

import os
import tempfile
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.machine import usable_cores
from benchmarks.peers import Environment

RATE = 48_000
NUM_SOUNDS = 120
NUM_CLIPS = 2400


def write_recordings(folder: Path, number: int) -> list[Path]:
    """Write the sounds, and links to them until there are so many clips."""
    import numpy as np

    random = np.random.default_rng(19730309)
    paths: list[Path] = []
    for i in range(number):
        path = folder / f"{i:06}.wav"
        if i < NUM_SOUNDS:
            seconds = np.arange(int(RATE * random.uniform(3, 4.5))) / RATE
            voice = sum(np.sin(2 * np.pi * 120 * k * seconds) / k for k in range(1, 20)) * np.sin(2 * np.pi * 3 * seconds) ** 2
            samples = (2000 * voice + 50 * random.standard_normal(len(seconds))).astype("<i2")
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, RATE, len(samples), "NONE", ""))
                file.writeframes(samples.tobytes())
        else:
            path.symlink_to(paths[i % NUM_SOUNDS])
        paths.append(path)
    return paths


def _work(number: int, ingest: Callable[[list[Path], Path], int]) -> Work:
    """Time `ingest`, which takes the clips and a folder to write to and returns the number of samples at 16 kHz."""
    folder = tempfile.TemporaryDirectory()
    clips = write_recordings(Path(folder.name), number)

    def run() -> Mapping[str, float]:
        start, start_busy = time.perf_counter(), _busy_seconds()
        hours = ingest(clips, Path(folder.name)) / 16000 / 3600
        minutes, busy = (time.perf_counter() - start) / 60, _busy_seconds() - start_busy
        rates = {"clips per minute": number / minutes, "audio hours per minute": hours / minutes}
        return rates | {"processor ms per clip": 1000 * busy / number}

    return Work(run, number)


def _busy_seconds() -> float:
    """Return the processor time so far of this process and of its children that have ended: other work on the machine hardly moves it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _ours(workers: int, number: int = NUM_CLIPS) -> Callable[[float], Work]:
    def begin(scale: float) -> Work:
        from ser_mlops.data.audio.store import write_audio

        def ingest(clips: list[Path], folder: Path) -> int:
            return int(write_audio([(clip.name, clip) for clip in clips], folder / "out/X.npy", 0.1, workers)["num_samples"].sum())

        return _work(scaled(number, scale), ingest)

    return begin


def ingest_of_ours(number: int) -> Callable[[float], Work]:
    """Another number of clips on every core, for the claim `shared_machine`."""
    return _ours(usable_cores(), number)


def librosa_loop(scale: float) -> Work:
    """What people write: one file after the other."""
    import librosa

    return _work(scaled(NUM_CLIPS, scale), lambda clips, folder: sum(len(librosa.load(clip, sr=16000)[0]) for clip in clips))


def datasets_audio(scale: float) -> Work:
    """A dataset of paths with an Audio feature, read from its first row to its last."""
    from datasets import Audio, Dataset

    def ingest(clips: list[Path], folder: Path) -> int:
        dataset = Dataset.from_dict({"audio": [str(clip) for clip in clips]}).cast_column("audio", Audio(sampling_rate=16000))
        return sum(len(row["audio"]["array"]) for row in dataset)

    return _work(scaled(NUM_CLIPS, scale), ingest)


LIBROSA = Environment("librosa", ("librosa",), sees_ours=False)
DATASETS = Environment("datasets", ("datasets<4", "soundfile", "librosa"), sees_ours=False)
"""Version 3, whose Audio feature decodes with soundfile and resamples with librosa; 4 decodes with torchcodec, which cannot be loaded
where FFmpeg's libraries are not installed."""

CLAIM = Claim(
    "ingest",
    "How fast do 48 kHz recordings become a corpus's audio file, and does memory grow with the corpus?",
    unit="clip",
    contenders=(
        Contender("ser_mlops on every core", _ours(usable_cores())),
        Contender("ser_mlops on one core", _ours(1)),
        Contender("librosa.load loop", librosa_loop, is_peer=True, environment=LIBROSA),
        Contender("datasets with Audio", datasets_audio, is_peer=True, environment=DATASETS),
    ),
    aims={("ser_mlops on every core", "librosa.load loop"): 3.0},
    repeats=3,
)

if __name__ == "__main__":
    main(CLAIM)
