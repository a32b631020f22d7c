"""Opens the DataFrame of a corpus by name, and the samples of its clips, in the project's folder."""

from typing import Any

import numpy as np
import pandas as pd

from ser_mlops.data.folders import FRAMES, audio_file, frame_file
from ser_mlops.data.frames import read_frame
from ser_mlops.errors import DataError, one_of


def frame(corpus: str) -> pd.DataFrame:
    """Return the DataFrame of a corpus, one row per clip; `ser_mlops/data/frames.py` documents its columns.

    Raises:
        DataError: there is none in the working directory.
    """
    known = sorted(path.stem for path in FRAMES.glob("*.parquet"))
    if not known:
        raise DataError(f"no frames in {FRAMES.absolute()}: work in the folder of the project, after `dvc repro`")
    if corpus not in known:
        raise DataError(f"{one_of('corpus', corpus, known)} (the frames in {FRAMES.absolute()})")
    return read_frame(frame_file(corpus))


def wave(clip: "pd.Series[Any]") -> np.ndarray:
    """Return the samples of a clip, a row of its frame: int16, mono, at 16 kHz, as every model hears it."""
    samples = np.load(audio_file(clip["corpus"]), mmap_mode="r")
    return np.array(samples[clip["start"] : clip["start"] + clip["num_samples"]])
