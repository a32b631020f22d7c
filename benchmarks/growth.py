"""Do time and memory keep pace with the number of clips, up to the 250,000 of MSP-Podcast?

Frames, batches and caches of 1,000, 10,000, 100,000 and 250,000 simulated clips, each size in a process of its own. Lengths are a sixth of
MSP-Podcast's (0.3 to 2.8 s, 1 s on average; for caches a fortieth), so that the largest takes a minute or two.

- frames: a frame of 400 clips per speaker is checked and written, read and checked, and divided into train, validation and test.
- batches: an epoch is planned, and every clip is read from the audio file, normalised and padded, in batches of 16.
- caches: the outputs of a frozen encoder (a minute one) are computed and written, opened, and every clip's are looked up.

Time per clip should stay what it is at 10,000 clips, in which start-up costs hardly count, and the memory that the work adds to the
process should not grow: batches and caches hold one batch at a time. A frame is a table in memory and does grow: its bytes per clip should
not.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Claim, Contender, Limit, Work, main, scaled
from benchmarks.machine import forget_peak_memory, peak_memory_mib
from benchmarks.workloads import SEED, keep_folder

if TYPE_CHECKING:
    import pandas as pd

SIZES = (1_000, 10_000, 100_000, 250_000)
CLIPS_PER_SPEAKER = 400
AUDIO_SAMPLES = 2**22
"""Of the audio file, 8 MiB: clips begin at random places of it, so that no disk needs to hold 250,000 of them."""
ADDED = "MiB added"
PER_CLIP = "bytes added per clip"


def _work(number: int, run: Callable[[], object]) -> Work:
    """Time work over so many clips and tell what it adds to the memory of the process."""

    def measured() -> Mapping[str, float]:
        held, start = forget_peak_memory(), time.process_time()
        run()
        added = peak_memory_mib() - held
        return {"processor ms per clip": 1000 * (time.process_time() - start) / number, ADDED: added, PER_CLIP: added * 2**20 / number}

    return Work(measured, number)


def _simulate(number: int, mean_seconds: float) -> "pd.DataFrame":
    """Return a frame of simulated clips, without an audio file."""
    import numpy as np
    import pandas as pd

    from ser_mlops.data.frames import conform

    random = np.random.default_rng(SEED)
    lengths = (16000 * mean_seconds * np.clip(random.lognormal(-0.06, 0.35, number), 0.3, 2.8)).astype(np.int64)
    speaker = np.arange(number) // min(CLIPS_PER_SPEAKER, number // 10)
    names = [f"SIM/{i}" for i in speaker]
    return conform(
        pd.DataFrame(
            {
                "path": [f"SIM/audio/clip_{i:07}.wav" for i in range(number)],
                "labels": random.integers(0, 7, number),
                "corpus": "SIM",
                "speaker": names,
                "gender": np.where(speaker % 2, "female", "male"),
                "language": "en",
                "text": [f"t{i}" for i in speaker % 50],
                "group": names,
                "fold": speaker % 5,
                "part": "",
                "start": random.integers(0, AUDIO_SAMPLES - lengths.max(), number),
                "num_samples": lengths,
                "sha256": [f"{i:064x}" for i in range(number)],
            }
        ),
        "simulated",
    )


def frames(number: int) -> Work:
    from ser_mlops.data.frames import read_frame, write_frame
    from ser_mlops.experiments.plan import plan_trainings

    frame, path = _simulate(number, 1.0), Path(keep_folder().name) / "SIM.parquet"

    def run() -> None:
        write_frame(frame, path)
        plan_trainings(
            {"SIM": read_frame(path)},
            experiment_type="indep",
            train_datasets=(),
            test_dataset="SIM",
            test_split_source=None,
            fold=0,
            validation_share=0.15,
            seed=SEED,
        )

    return _work(number, run)


def _write_audio(folder: Path, frame: "pd.DataFrame") -> None:
    import numpy as np

    folder.mkdir()
    random = np.random.default_rng(SEED)
    np.save(folder / "SIM.npy", (1000 * random.standard_normal(AUDIO_SAMPLES, dtype=np.float32)).astype(np.int16))
    frame.assign(defect="").drop_duplicates("start").to_parquet(folder / "SIM.parquet")


def batches(number: int) -> Work:
    from ser_mlops.models.build import load_classifier
    from ser_mlops.training.batching import Clips, load_batches, plan_batches

    folder = Path(keep_folder().name) / "audio"
    frame = _simulate(number, 1.0)
    _write_audio(folder, frame)
    clips, prepare = Clips.from_frame(frame, folder), load_classifier("tiny", seed=SEED).prepare
    clips.wave(0)

    def run() -> None:
        plan = plan_batches(clips.num_samples, 16, seed=SEED, round=0, epoch=1)
        for _ in load_batches(plan, lambda i: prepare(clips.wave(i)), workers=0, pin_memory=False):
            pass

    return _work(number, run)


def caches(number: int) -> Work:
    import pandas as pd
    import torch
    from transformers import AutoModelForAudioClassification, HubertConfig, Wav2Vec2FeatureExtractor

    from ser_mlops.models.classifier import EmotionClassifier
    from ser_mlops.training.distributed import join_world
    from ser_mlops.training.features import open_features

    torch.set_num_threads(1)  # its matrices are too small to share out
    folder = Path(keep_folder().name)
    _write_audio(folder / "audio", _simulate(number, 0.15))
    starts = pd.read_parquet(folder / "audio/SIM.parquet", columns=["start"])["start"].tolist()
    config = HubertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        conv_dim=(8, 8),
        conv_kernel=(320, 5),
        conv_stride=(160, 2),
        feat_extract_norm="layer",
        num_conv_pos_embeddings=2,
        num_conv_pos_embedding_groups=1,
    )
    classifier = EmotionClassifier(AutoModelForAudioClassification.from_config(config), Wav2Vec2FeatureExtractor())
    classifier.freeze("encoder")

    def run() -> None:
        features: Any = open_features(
            classifier, "encoder", {"SIM": folder / "audio/SIM.npy"}, folder / "cache", "float32", "require", join_world().device
        )
        for start in starts:
            features.get("SIM", start)

    return _work(len(starts), run)


def _sized(work: Callable[[int], Work], number: int) -> Callable[[float], Work]:
    return lambda scale: work(scaled(number, scale))


def _named(kind: str, number: int) -> str:
    return f"{kind} of {number // 1000}k clips"


KINDS: dict[str, Callable[[int], Work]] = {"frames": frames, "batches": batches, "caches": caches}
LARGEST, REFERENCE = SIZES[-1], 10_000

CLAIM = Claim(
    "growth",
    "Do time and memory keep pace with the number of clips, up to the 250,000 of MSP-Podcast?",
    unit="clip",
    contenders=tuple(Contender(_named(kind, size), _sized(work, size), kind=kind) for kind, work in KINDS.items() for size in SIZES),
    limits=(
        *(Limit(_named(kind, LARGEST), 1.25, against=_named(kind, REFERENCE)) for kind in KINDS),
        Limit(_named("frames", LARGEST), 1.25, PER_CLIP, against=_named("frames", REFERENCE)),
        *(Limit(_named(kind, LARGEST), 128, ADDED) for kind in ("batches", "caches")),
    ),
    repeats=1,
    warmups=0,
)

if __name__ == "__main__":
    main(CLAIM)
