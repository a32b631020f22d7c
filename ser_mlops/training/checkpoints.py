"""The saved state of a round, in a folder of its own, without pickle:

    last.safetensors        trained weights (`weight/…`), moments (`optimizer/exp_avg/…`); in the header, as JSON, state and identity
    best-0003.safetensors   trained weights after the best epoch so far

Each file is whole or absent, and `last` is written after the `best` that its history names: a kill at any moment leaves a pair that
belongs together. Frozen weights are not saved: the identity names the model that they come from.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ser_mlops.errors import CheckpointError, TrainingError
from ser_mlops.files import replacing
from ser_mlops.training.state import State

LAST = "last.safetensors"
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
        with safe_open(path, "pt") as file:
            header = file.metadata()
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
    tensors = load_file(folder / LAST)
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
    _put_weights(parameters, load_file(_best(folder, epoch)), _best(folder, epoch))


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


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    try:
        with replacing(path) as aside:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside, metadata=dict(header))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"cannot save {path} ({error}): make room there, or set paths.checkpoints to another disk") from error
