"""The kinds of vector: each of its size, and an optional one that is not installed is answered with how to get it."""

import numpy as np
import pytest

from ser_mlops.errors import SettingsError
from ser_mlops.models import vectors
from ser_mlops.models.vectors import EGEMAPS, VECTORS, vectors_named


def noise(num_samples: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(num_samples) * 2000).astype(np.int16)


@pytest.mark.parametrize("features", VECTORS)
@pytest.mark.parametrize("num_samples", [100, 8000])
def test_a_clip_has_as_many_numbers_as_its_kind_says(features, num_samples):
    if features == EGEMAPS:
        pytest.importorskip("opensmile")
    numbers = vectors_named(features).describe(noise(num_samples))
    assert numbers.shape == (vectors_named(features).size,)
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all()


def test_an_optional_kind_that_is_not_installed_names_its_package_and_its_licence(monkeypatch):
    monkeypatch.setattr(vectors, "is_installed", lambda tool: False)
    with pytest.raises(SettingsError, match=r"features=egemaps needs openSMILE .*commercial use needs a licence.*: pip install 'opensmile"):
        vectors_named(EGEMAPS)
