"""What is known about a clip besides what a frame holds: its length in seconds, its level, warnings about its file, its label rule."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.folders import frame_file
from ser_mlops.data.frames import read_frame
from ser_mlops.data.quality import read_catalogue, read_index

OF_CATALOGUE = ("rule",)
OF_INDEX = ("rms_db", "warnings")


def read_facts(corpora: Sequence[str]) -> pd.DataFrame:
    """Return the clips of corpora, a row each, in the order of their frames: the frame's columns, `seconds`, and those of OF_*.

    Columns that the frame of a corpus lacks and another has are empty there.

    Raises:
        DataError: a table of a corpus is missing.
    """
    tables = []
    for corpus in corpora:
        frame = read_frame(frame_file(corpus))
        frame["seconds"] = frame["num_samples"] / SAMPLE_RATE
        for table, columns in ((read_catalogue(corpus), OF_CATALOGUE), (read_index(corpus), OF_INDEX)):
            new = [column for column in columns if column in table.columns and column not in frame.columns]
            frame = frame.merge(table[["path", *new]].drop_duplicates("path"), on="path", how="left", validate="one_to_one")
        frame["rms_db"] = frame["rms_db"].replace(-np.inf, np.nan)
        tables.append(frame)
    return pd.concat(tables, ignore_index=True)
