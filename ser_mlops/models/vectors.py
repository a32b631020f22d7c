"""The kinds of fixed-length vector that the baseline can be trained on: a clip in, so many numbers out."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.errors import SettingsError


@dataclass(frozen=True)
class Vectors:
    """One kind of vector."""

    size: int
    """Numbers per clip."""
    version: str
    """Of what computes them: part of a cache's key and of a model's contract."""
    licence: str
    """Of what computes them."""
    describe: Callable[[np.ndarray], np.ndarray]
    """From a clip (int16, 16 kHz) to its numbers (float32). They depend on the clip alone."""


BASELINE_FACTS = "baseline.json"
"""The file of a saved baseline that says what it takes and how it is calibrated."""
EGEMAPS = "egemaps"
OPENSMILE_LICENCE = "free for private, research and teaching use; commercial use needs a licence of audEERING"
NUM_FUNCTIONALS, NUM_EGEMAPS = 411, 88
MIN_EGEMAPS_SAMPLES = SAMPLE_RATE // 4
"""openSMILE returns nothing for clips much shorter than this: they are padded with zeros."""


def _functionals(wave_S: np.ndarray) -> np.ndarray:
    from ser_mlops.models.functionals import functionals  # which loads torchaudio

    return functionals(wave_S)


@lru_cache(maxsize=1)
def _smile() -> Any:
    import opensmile

    return opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals)


def egemaps(wave_S: np.ndarray) -> np.ndarray:
    """Return the 88 numbers of eGeMAPS v02 (Eyben et al., 2016), as openSMILE computes them.

    Raises:
        ModuleNotFoundError: openSMILE, which is optional, is not installed.
    """
    wave_S = np.pad(wave_S, (0, max(0, MIN_EGEMAPS_SAMPLES - len(wave_S)))).astype(np.float32) / FULL_SCALE
    return _smile().process_signal(wave_S, SAMPLE_RATE).to_numpy(dtype=np.float32)[0]


def is_installed(tool: str) -> bool:
    """Say whether an optional package is there, without loading it."""
    return importlib.util.find_spec(tool) is not None


VECTORS: Mapping[str, Vectors] = {
    "functionals": Vectors(NUM_FUNCTIONALS, "1", "BSD 2-clause (torchaudio)", _functionals),
    EGEMAPS: Vectors(NUM_EGEMAPS, "openSMILE eGeMAPSv02", f"openSMILE: {OPENSMILE_LICENCE}", egemaps),
}


def vectors_named(features: str) -> Vectors:
    """Return a kind of vector by its name.

    Raises:
        SettingsError: what computes it is not installed.
    """
    if features == EGEMAPS and not is_installed("opensmile"):
        raise SettingsError(f"features={EGEMAPS} needs openSMILE ({OPENSMILE_LICENCE}): pip install 'opensmile>=2.6'")
    return VECTORS[features]
