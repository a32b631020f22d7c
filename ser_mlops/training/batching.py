"""Clips and the batches made of them: which clips go together is a function of seed, round and epoch, never of what ran before.

Shape letters: N clips, B batch, S samples, T steps, C channels.
"""

import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ser_mlops.emotions import EMOTIONS
from ser_mlops.seeds import rng

LENGTH_JITTER = 0.1
"""Clips of a batch differ in length by about so much: little padding, and other neighbours in every epoch."""


@dataclass(frozen=True)
class Clips:
    """What to train or test on: arrays of N clips in frame order, and the audio file of every corpus among them."""

    corpora: np.ndarray
    starts: np.ndarray
    """First sample in the corpus's audio file; corpus and start identify a clip."""
    num_samples: np.ndarray
    labels: np.ndarray
    paths: np.ndarray
    """For messages and tables."""
    speakers: np.ndarray
    audio: Mapping[str, Path]
    """Corpus -> its decoded audio: 1-D int16 .npy, clips end to end."""
    emotions: tuple[str, ...] = EMOTIONS
    """The names of the classes, whose numbers are the labels."""
    targets: np.ndarray | None = None
    """targets_NE: the shares of the classes in what each clip is trained towards; None: its label alone."""
    has_label: np.ndarray | None = None
    """False for clips whose label is not theirs alone, which hard scores leave out; None: all have one."""

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, audio_folder: Path, targets: np.ndarray | None = None) -> "Clips":
        """Take the clips of a frame (one or more corpora), whose audio files are in one folder; without `emotions` they are all seven.

        `targets` are what `targets_of` returns.
        """
        corpora = frame["corpus"].to_numpy(dtype=object)
        return cls(
            corpora=corpora,
            starts=frame["start"].to_numpy(dtype=np.int64),
            num_samples=frame["num_samples"].to_numpy(dtype=np.int64),
            labels=frame["labels"].to_numpy(dtype=np.int64),
            paths=frame["path"].to_numpy(dtype=object),
            speakers=frame["speaker"].to_numpy(dtype=object),
            audio={corpus: audio_folder / f"{corpus}.npy" for corpus in dict.fromkeys(corpora)},
            emotions=tuple(frame["emotions"].cat.categories) if "emotions" in frame.columns else EMOTIONS,
            targets=targets,
            has_label=frame["num_labels"].to_numpy() == 1 if "num_labels" in frame.columns else None,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, indices: np.ndarray) -> "Clips":
        """Return some of the clips, in the order of `indices`."""
        names = ("corpora", "starts", "num_samples", "labels", "paths", "speakers", "targets", "has_label")
        return replace(self, **{name: values[indices] for name in names if (values := getattr(self, name)) is not None})

    def wave(self, i: int) -> np.ndarray:
        """Return the samples of one clip: int16, 16 kHz mono, not yet read from disk."""
        path, start = self.audio[self.corpora[i]], self.starts[i]
        return _open_audio(path, path.stat().st_mtime_ns)[start : start + self.num_samples[i]]


@lru_cache(maxsize=64)
def _open_audio(path: Path, modified_ns: int) -> np.ndarray:
    """Map an audio file, once per process and version of the file: pickled Clips carry paths, not samples."""
    return np.load(path, mmap_mode="r")


def plan_batches(num_samples_N: np.ndarray, batch_size: int, *, seed: int, round: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of clip indices: every clip once, clips of like length together.

    Where the clips do not fill all batches, the short one is any of them: its clips weigh more in their step, and would be the longest
    in every epoch if it were the last by length.

    >>> [batch.tolist() for batch in plan_batches(np.array([10, 90, 91, 11, 50]), 2, seed=1, round=0, epoch=3)]
    [[3], [0, 4], [1, 2]]
    """
    random = rng(seed, "batches", round, epoch)
    jittered_N = num_samples_N * random.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(num_samples_N))
    sizes = [len(part) for part in _cut(jittered_N, batch_size)]
    order = random.permutation(len(sizes))
    short = random.integers(len(sizes))
    sizes[short], sizes[-1] = sizes[-1], sizes[short]
    batches = np.split(np.argsort(jittered_N, kind="stable"), np.cumsum(sizes)[:-1])
    return [batches[i] for i in order]


def plan_evaluation(num_samples_N: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return batches sorted by length, the longest clips first, so that memory runs out at once or not at all."""
    return _cut(np.argsort(-num_samples_N, kind="stable"), batch_size)


def _cut(order_N: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [order_N[first : first + batch_size] for first in range(0, len(order_N), batch_size)]


def crop(wave_S: np.ndarray, max_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return a stretch of at most `max_samples` of a wave, at a random place."""
    first = random.integers(0, max(0, len(wave_S) - max_samples), endpoint=True)
    return wave_S[first : first + max_samples]


def window_bounds(num_samples_N: np.ndarray, max_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the windows of N clips begin and end, and the index of the clip that each one is of.

    Every clip is cut into the fewest windows of equal length (give or take a sample) that are not longer than `max_samples`.

    >>> [bounds.tolist() for bounds in window_bounds(np.array([10, 4]), 4)]
    [[0, 3, 6, 0], [3, 6, 10, 4], [0, 0, 0, 1]]
    """
    num_windows_N = -(-num_samples_N // max_samples)
    owners = np.repeat(np.arange(len(num_samples_N)), num_windows_N)
    position = np.arange(len(owners)) - np.repeat(np.cumsum(num_windows_N) - num_windows_N, num_windows_N)
    length, parts = num_samples_N[owners], num_windows_N[owners]
    return position * length // parts, (position + 1) * length // parts, owners


def cut_windows(clips: Clips, max_samples: int) -> tuple[Clips, np.ndarray]:
    """Return the windows of clips (`window_bounds`), as clips, and the index of the clip that each one is of."""
    first, end, owners = window_bounds(clips.num_samples, max_samples)
    windows = clips.take(owners)
    return replace(windows, starts=windows.starts + first, num_samples=end - first), owners


class Batch(NamedTuple):
    """Values of B clips, padded with zeros to the longest."""

    indices_B: np.ndarray
    values: Tensor
    """values_BS, values_BTC or values_BLH."""
    lengths_B: Tensor
    """Samples or steps that are not padding."""


def collate(items: Sequence[tuple[int, np.ndarray]]) -> Batch:
    """Pad arrays that differ in their first axis, and stack them."""
    arrays = [array for _, array in items]
    lengths = [len(array) for array in arrays]
    values = torch.zeros(len(arrays), max(lengths), *arrays[0].shape[1:])  # torch's memory is aligned, numpy's is where it falls
    for row, array in zip(values.numpy(), arrays, strict=True):
        row[: len(array)] = array
    return Batch(np.array([i for i, _ in items]), values, torch.tensor(lengths))


class _Reading(Dataset[Any]):
    def __init__(self, read: Callable[[int], np.ndarray]):
        self.read = read

    def __getitem__(self, i: int) -> tuple[int, np.ndarray]:
        return int(i), self.read(i)


def load_batches(
    batches: Sequence[np.ndarray], read: Callable[[int], np.ndarray], *, workers: int, pin_memory: bool
) -> Generator[Batch, None, None]:
    """Yield padded batches in the order of the plan; `read` returns the values of one clip and depends on its index alone.

    The number of workers does not change what comes out, and torch's global random state stays where it was. Who may leave the loop
    early closes the generator (`contextlib.closing`), which ends the workers.
    """
    if workers == 0 or len(batches) <= 1:
        for batch in batches:
            loaded = collate([(int(i), read(i)) for i in batch])
            yield loaded._replace(values=loaded.values.pin_memory()) if pin_memory else loaded
    else:
        yield from DataLoader(
            _Reading(read),
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=workers,
            multiprocessing_context="fork",  # `read` may hold a model, which cannot be sent to a process but is inherited
            pin_memory=pin_memory,
            generator=torch.Generator(),
            worker_init_fn=_leave_signals_to_the_trainer,
        )


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Slurm and Ctrl-C signal every process of a group; workers live on until the trainer has saved its state and ends them."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
