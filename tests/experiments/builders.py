"""A project of one corpus of tones, and sweeps over it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ser_mlops.data.lock import Version
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.experiments.sweep import Sweep, prepare_sweep
from ser_mlops.settings.reading import read_settings
from ser_mlops.settings.search import Choices, Range
from tests.builders import tiny_frame
from tests.project import ROOT

GIVEN = {
    "train.test_dataset": "TESS",
    "train.model": "tiny",
    "train.freeze": "encoder",
    "train.epochs": "3",
    "train.rounds": "2",
    "train.lr": "0.003",
    "train.batch_size": "8",
    "sweep.study": "s",
    "sweep.trials": "6",
    "sweep.startup_trials": "3",
    "drawing.figures": "none",
}


def furnish(folder: Path) -> None:
    """Make a folder a project with one decoded corpus: 36 clips of a second, whose pitch tells the emotion through noise."""
    frame = toy_frame()
    noise = np.random.default_rng(1)
    seconds = np.arange(16000) / 16000
    waves = [4000 * np.sin(2 * np.pi * (200 + 150 * label) * seconds) + noise.normal(0, 3000, 16000) for label in frame["labels"]]
    (folder / "data/audio").mkdir(parents=True)
    (folder / "data/frames").mkdir()
    frame.to_parquet(folder / "data/frames/TESS.parquet")
    np.save(folder / "data/audio/TESS.npy", np.concatenate(waves).astype(np.int16))
    frame.assign(defect="")[["path", "start", "num_samples", "sha256", "defect"]].to_parquet(folder / "data/audio/TESS.parquet")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(ROOT / "data/own_corpora.py", folder / "data")


def toy_frame() -> pd.DataFrame:
    return tiny_frame("TESS", {speaker: fold for fold, speaker in enumerate("abcdef")})


def sweep_of(space: Mapping[str, Range | Choices] | None = None, md5: str = "0" * 32, **given: str) -> Sweep:
    """Prepare a sweep in the working directory; `given` are settings whose dot is written as two underscores."""
    settings = read_settings(given=GIVEN | {name.replace("__", "."): value for name, value in given.items()})
    if space is not None:
        settings = settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"space": space})})
    trainings = plan_trainings(
        {"TESS": toy_frame()},
        experiment_type="indep",
        train_datasets=(),
        test_dataset="TESS",
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    version = Version(Path("data/frames/TESS.parquet"), md5, Path("data/audio/TESS.npy"), "1" * 32)
    return prepare_sweep(Experiment(settings, trainings, {"TESS": version}, is_synthetic=True), settings.sweep)
