"""How long does it take to read one epoch of clips at 16 kHz?

The recordings of `benchmarks/ingest.py` (48 kHz, 16 bit, like RAVDESS), 480 of them, handed over as padded float32 batches of two in a
random order, every clip normalised. Ours reads the corpus's audio file, decoded once by the audio stage (its cost is the claim `ingest`),
in batches of like length. The peers decode and resample in every epoch, as most scripts do: soundfile with librosa.resample,
`librosa.load`, and `datasets` with its Audio feature.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Contender, Work, main, scaled
from benchmarks.ingest import DATASETS, LIBROSA, write_recordings
from benchmarks.machine import usable_cores
from benchmarks.workloads import SEED, keep_folder

NUM_CLIPS = 480
BATCH_SIZE = 2


def _work(number: int, read_epoch: Callable[[], Iterable[Any]]) -> Work:
    """Time one epoch after the other; `read_epoch` yields padded batches."""

    def run() -> Mapping[str, float]:
        start, clips = time.process_time(), 0
        for batch in read_epoch():
            clips += len(batch)
        assert clips == number
        return {"processor ms per clip": 1000 * (time.process_time() - start) / number}

    return Work(run, number)


def ours(scale: float) -> Work:
    from ser_mlops.data.audio.store import write_audio
    from ser_mlops.models.build import load_classifier
    from ser_mlops.training.batching import Clips, load_batches, plan_batches

    folder = Path(keep_folder().name)
    paths = write_recordings(folder, scaled(NUM_CLIPS, scale))
    index = write_audio([(path.name, path) for path in paths], folder / "out/X.npy", 0.1, usable_cores())
    clips = Clips.from_frame(index.assign(corpus="X", speaker="X/1", labels=0), folder / "out")
    prepare = load_classifier("tiny", seed=SEED).prepare
    epochs = count(1)

    def read_epoch() -> Iterable[Any]:
        plan = plan_batches(clips.num_samples, BATCH_SIZE, seed=SEED, round=0, epoch=next(epochs))
        return (batch.values for batch in load_batches(plan, lambda i: prepare(clips.wave(i)), workers=0, pin_memory=False))

    return _work(len(clips), read_epoch)


def _each_time(read: Callable[[Path], Any], scale: float) -> Work:
    """What scripts do: a random order, and every file read again."""
    import numpy as np

    paths = write_recordings(Path(keep_folder().name), scaled(NUM_CLIPS, scale))
    random = np.random.default_rng(SEED)

    def read_epoch() -> Iterable[Any]:
        order = random.permutation(len(paths))
        return (_pad([read(paths[i]) for i in order[first : first + BATCH_SIZE]]) for first in range(0, len(order), BATCH_SIZE))

    return _work(len(paths), read_epoch)


def _pad(waves: list[Any]) -> Any:
    import numpy as np

    batch = np.zeros((len(waves), max(map(len, waves))), dtype=np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    return batch


def soundfile(scale: float) -> Work:
    import librosa
    import soundfile

    def read(path: Path) -> Any:
        wave, rate = soundfile.read(path, dtype="float32")
        return librosa.resample(wave, orig_sr=rate, target_sr=16000)

    return _each_time(read, scale)


def librosa_load(scale: float) -> Work:
    import librosa

    return _each_time(lambda path: librosa.load(path, sr=16000)[0], scale)


def datasets_audio(scale: float) -> Work:
    from datasets import Audio, Dataset

    paths = write_recordings(Path(keep_folder().name), scaled(NUM_CLIPS, scale))
    dataset = Dataset.from_dict({"audio": [str(path) for path in paths]}).cast_column("audio", Audio(sampling_rate=16000))
    seeds = count(SEED)

    def read_epoch() -> Iterable[Any]:
        shuffled = dataset.shuffle(seed=next(seeds), keep_in_memory=True)
        return (_pad([clip["array"] for clip in batch["audio"]]) for batch in shuffled.iter(BATCH_SIZE))

    return _work(len(paths), read_epoch)


CLAIM = Claim(
    "epoch_read",
    "How long does it take to read one epoch of clips at 16 kHz?",
    unit="clip",
    contenders=(
        Contender("ser_mlops", ours),
        Contender("soundfile and librosa.resample each time", soundfile, is_peer=True, environment=LIBROSA),
        Contender("librosa.load each time", librosa_load, is_peer=True, environment=LIBROSA),
        Contender("datasets with Audio", datasets_audio, is_peer=True, environment=DATASETS),
    ),
    repeats=3,
)

if __name__ == "__main__":
    main(CLAIM)
