"""Every family of encoders keeps the contract; docs/adding-an-encoder.md has its table."""

from pathlib import Path

import pytest

from ser_mlops.models.families.registry import MODEL_TYPES, families
from tests.models.contract import CHECKPOINTS, Contract, two_processes

EXACT, CLOSE, BFLOAT16 = 0.0, 1e-5, 3e-2


@pytest.fixture(scope="module", params=CHECKPOINTS)
def contract(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return Contract(tmp_path_factory.mktemp("family"), request.param)


def test_every_family_is_here() -> None:
    assert tuple(families()) == MODEL_TYPES
    assert {name.partition(",")[0] for name in CHECKPOINTS} == set(MODEL_TYPES)


def test_plain_transformers_opens_what_was_saved_and_computes_the_same(contract: Contract) -> None:
    assert contract.plain() <= CLOSE


def test_padded_is_alone(contract: Contract) -> None:
    assert contract.padded() <= CLOSE


def test_cached_is_computed_again_in_every_freezing(contract: Contract) -> None:
    assert contract.cached() <= CLOSE


def test_opened_is_saved(contract: Contract) -> None:
    assert contract.saved() == EXACT


def test_resumed_is_undisturbed(contract: Contract) -> None:
    assert contract.resumed() == EXACT


def test_bfloat16_is_within_its_tolerance(contract: Contract) -> None:
    assert contract.bfloat16() <= BFLOAT16


def test_two_processes_are_one(tmp_path: Path) -> None:
    for name, difference in two_processes(tmp_path).items():
        assert difference <= CLOSE, name
