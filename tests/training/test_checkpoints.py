"""Checkpoints: whole or absent, of one training only, and never unpickled."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from ser_mlops.errors import CheckpointError, TrainingError
from ser_mlops.training import checkpoints
from ser_mlops.training.state import State, best_epoch

IDENTITY = {"lr": "0.1", "frame of CREMA": "abc"}


def _trained(seed: int = 1, steps: int = 2) -> tuple[dict[str, nn.Parameter], AdamW]:
    torch.manual_seed(seed)
    layer = nn.Linear(3, 2)
    optimizer = AdamW(layer.parameters(), fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        layer(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return dict(layer.named_parameters()), optimizer


def _moments(parameters: dict[str, nn.Parameter], optimizer: AdamW) -> dict[str, list[float]]:
    return {f"{name} {kind}": value.tolist() for name in parameters for kind, value in optimizer.state[parameters[name]].items()}


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    parameters, optimizer = _trained()
    state = State(step=17, loss_sum=0.1 + 0.2, seconds=1.5, history=[{"train/loss": 1 / 3}])
    checkpoints.save_last(tmp_path, state, IDENTITY, parameters, optimizer)
    fresh, fresh_optimizer = _trained(seed=2, steps=0)
    assert checkpoints.load_state(tmp_path, IDENTITY) == state
    checkpoints.restore_last(tmp_path, fresh, fresh_optimizer)
    assert all(torch.equal(fresh[name], parameters[name]) for name in parameters)
    assert _moments(fresh, fresh_optimizer) == _moments(parameters, optimizer)
    assert len(_moments(fresh, fresh_optimizer)) == 6


def test_an_empty_folder_holds_no_state(tmp_path: Path) -> None:
    assert checkpoints.load_state(tmp_path / "none", IDENTITY) is None


@pytest.mark.parametrize(
    ("identity", "difference"),
    [
        ({**IDENTITY, "lr": "0.2"}, "its lr is 0.1, that of this call is 0.2"),
        ({**IDENTITY, "frame of CREMA": "xyz"}, "its frame of CREMA is abc, that of this call is xyz"),
        ({**IDENTITY, "code": "c0ffee"}, "its code is not given, that of this call is c0ffee"),
        ({"lr": "0.1"}, "its frame of CREMA is abc, that of this call is not given"),
    ],
)
def test_a_state_of_another_training_is_refused_with_the_difference(tmp_path: Path, identity: dict[str, str], difference: str) -> None:
    checkpoints.save_last(tmp_path, State(), IDENTITY, *_trained())
    with pytest.raises(CheckpointError, match=difference):
        checkpoints.load_state(tmp_path, identity)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"step": 1})])
def test_a_file_that_is_no_checkpoint_is_refused_and_not_unpickled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / checkpoints.LAST).write_bytes(content)
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        checkpoints.load_state(tmp_path, IDENTITY)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints.save_last(tmp_path, State(), IDENTITY, *_trained())
    path = tmp_path / checkpoints.LAST
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        checkpoints.load_state(tmp_path, IDENTITY)


@pytest.mark.parametrize("place", [200, -3])
def test_a_flipped_bit_in_a_state_is_refused_by_name(tmp_path: Path, place: int) -> None:
    checkpoints.save_last(tmp_path, State(step=17), IDENTITY, *_trained())
    _flip(tmp_path / checkpoints.LAST, place)
    with pytest.raises(CheckpointError, match=r"last\.safetensors is (damaged, its checksum is not|no readable checkpoint)"):
        checkpoints.load_state(tmp_path, IDENTITY)


def test_a_flipped_bit_in_the_best_weights_is_refused_by_name(tmp_path: Path) -> None:
    parameters, _ = _trained()
    checkpoints.save_best(tmp_path, 3, parameters)
    _flip(tmp_path / "best-0003.safetensors", -3)
    with pytest.raises(CheckpointError, match=r"best-0003\.safetensors is damaged, its checksum is not the one written"):
        checkpoints.restore_best(tmp_path, 3, parameters)


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    checkpoints.save_best(tmp_path, 1, _trained()[0])
    with pytest.raises(CheckpointError, match="holds the weights of another model"):
        checkpoints.restore_best(tmp_path, 1, {"other": nn.Parameter(torch.zeros(2))})


def test_only_the_best_epoch_is_kept_and_what_kills_left_is_removed(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        checkpoints.save_best(tmp_path, epoch, _trained()[0])
    (tmp_path / ".last.safetensors.123.abcd.tmp").write_bytes(b"half")
    checkpoints.drop_others(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["best-0002.safetensors"]


def test_a_place_that_cannot_be_written_to_is_named_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TrainingError, match=r"cannot save .*last\.safetensors .*paths\.checkpoints"):
        checkpoints.save_last(tmp_path / "file", State(), IDENTITY, *_trained())


def test_a_loss_is_better_when_lower_and_the_earliest_epoch_wins_a_tie() -> None:
    history = [{"val/loss": loss, "val/uar": 0.5} for loss in (0.9, 0.4, 0.7, 0.4)]
    assert best_epoch(history, "loss") == 2
    assert best_epoch(history, "uar") == 1


def test_the_header_is_readable_json(tmp_path: Path) -> None:
    checkpoints.save_last(tmp_path, State(step=3), IDENTITY, *_trained())
    raw = (tmp_path / checkpoints.LAST).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["state"])["step"] == 3
