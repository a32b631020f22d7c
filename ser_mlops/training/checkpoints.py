"""The saved state of a round, in a folder of its own, without pickle:

    last.safetensors        trained weights (`weight/…`), moments (`optimizer/exp_avg/…`); in the header, as JSON, state and identity
    best-0003.safetensors   trained weights after the best epoch so far

Each file is whole or absent, and `last` is written after the `best` that its history names: a kill at any moment leaves a pair that
belongs together. Frozen weights are not saved: the identity names the model that they come from.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ser_mlops.errors import CheckpointError, TrainingError
from ser_mlops.files import replacing
from ser_mlops.training.state import State

LAST = "last.safetensors"
CHECKSUM = "crc32"
"""In the header of every file, beside what it holds."""
WEIGHT, OPTIMIZER = "weight/", "optimizer/"

Parameters = Mapping[str, nn.Parameter]
"""The trainable parameters of a model, by name."""


def save_last(folder: Path, state: State, identity: Mapping[str, str], parameters: Parameters, optimizer: Optimizer) -> None:
    """Save where a round stands."""
    tensors = {f"{WEIGHT}{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for kind, tensor in optimizer.state.get(parameter, {}).items():
            tensors[f"{OPTIMIZER}{kind}/{name}"] = tensor
    _write(folder / LAST, tensors, {"state": json.dumps(asdict(state)), "identity": json.dumps(dict(identity))})


def save_finished(folder: Path, state: State, identity: Mapping[str, str]) -> None:
    """Save that a round has finished: weights and moments of its last step are no longer needed."""
    _write(folder / LAST, {}, {"state": json.dumps(asdict(state)), "identity": json.dumps(dict(identity))})


def load_state(folder: Path, identity: Mapping[str, str]) -> State | None:
    """Return the saved state, or None if there is none.

    Raises:
        CheckpointError: it is unreadable, or belongs to something else; the first difference is named.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        header, _ = _read(path)
        saved, state = json.loads(header["identity"]), State(**json.loads(header["state"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({error}): delete its folder to start the round again") from error
    for name in sorted({*saved, *identity}):
        if saved.get(name) != identity.get(name):
            raise CheckpointError(
                f"{path} is of another training: its {name} is {saved.get(name, 'not given')}, that of this call is "
                f"{identity.get(name, 'not given')}; repeat the command that made it, or delete its folder to start the round again"
            )
    return state


def restore_last(folder: Path, parameters: Parameters, optimizer: Optimizer) -> None:
    """Put the saved weights and moments back in place."""
    _, tensors = _read(folder / LAST)
    _put_weights(parameters, {name: tensor for name, tensor in tensors.items() if name.startswith(WEIGHT)}, folder / LAST)
    for key, tensor in tensors.items():
        if key.startswith(OPTIMIZER):
            kind, name = key.removeprefix(OPTIMIZER).split("/", 1)
            optimizer.state[parameters[name]][kind] = tensor.to(parameters[name].device)


def save_best(folder: Path, epoch: int, parameters: Parameters) -> None:
    """Save the weights of the best epoch so far."""
    _write(_best(folder, epoch), {f"{WEIGHT}{name}": parameter.detach() for name, parameter in parameters.items()}, {})


def restore_best(folder: Path, epoch: int, parameters: Parameters) -> None:
    """Put the weights of the best epoch in place."""
    if not _best(folder, epoch).is_file():
        raise CheckpointError(f"no {_best(folder, epoch)}: delete its folder to start the round again")
    try:
        _, tensors = _read(_best(folder, epoch))
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"{_best(folder, epoch)} is not readable ({error}): delete its folder to start the round again") from error
    _put_weights(parameters, tensors, _best(folder, epoch))


def drop_others(folder: Path, epoch: int) -> None:
    """Remove the weights of epochs that are no longer the best, and what kills have left half-written."""
    for path in [*folder.glob("best-*.safetensors"), *folder.glob(".*.tmp")]:
        if path != _best(folder, epoch):
            path.unlink()


def _best(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch:04d}.safetensors"


def _put_weights(parameters: Parameters, tensors: Mapping[str, Tensor], path: Path) -> None:
    if tensors.keys() != {f"{WEIGHT}{name}" for name in parameters}:
        raise CheckpointError(f"{path} holds the weights of another model: delete its folder to start the round again")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"{WEIGHT}{name}"])


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors of a file, whose checksum is that of what was written.

    Raises:
        CheckpointError: it is not.
    """
    with safe_open(path, "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    if header.pop(CHECKSUM) != _checksum(tensors, header):
        raise CheckpointError(f"{path} is damaged, its checksum is not the one written: delete its folder to start the round again")
    return header, tensors


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """Return the CRC-32 of names, values and header: it notices every flipped bit, at 1.5 GB a second (one EPYC core)."""
    crc = 0
    for name in sorted(header):
        crc = zlib.crc32(f"{name}={header[name]}".encode(), crc)
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    try:
        with replacing(path) as aside:
            checksum = {CHECKSUM: _checksum(tensors, header)}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata={**header, **checksum})
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot save {path} ({error}): make room there, or set paths.checkpoints to another disk") from error
