"""The processes that train one round together under torchrun; alone, every operation here is the identity.

Each batch of the plan is shared out over the processes, gradients are summed once per optimiser step, and only the first process
records and saves. Gradients are summed here rather than by DistributedDataParallel because a share may be empty (a batch of one clip, two
processes) and because dropped layers (layerdrop) leave gradients out on some processes and not on others.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first one also records, draws figures and fills caches."""


@dataclass(frozen=True)
class World:
    """One process's place among all of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, batch_B: np.ndarray) -> np.ndarray:
        """Return this process's clips of a batch; together the processes have each clip once."""
        return batch_B[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over processes."""
        if self.size > 1:
            values = values.to(self.device)
            distributed.all_reduce(values)
        return values

    def count(self, flag: bool) -> int:
        """Return in how many processes a flag is set."""
        return int(self.sum(torch.tensor([float(flag)])).item())

    def wait(self) -> None:
        """Wait until every process is here."""
        self.sum(torch.zeros(1))

    def broadcast(self, message: Any) -> None:
        """Send a message of JSON types from the first process to all the others, which `receive` it."""
        if self.size > 1:
            text = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8).to(self.device)
            distributed.broadcast(torch.tensor(len(text), device=self.device), 0)
            distributed.broadcast(text, 0)

    def receive(self) -> Any:
        """Wait for the message that the first process broadcasts."""
        length = torch.zeros((), dtype=torch.int64, device=self.device)
        distributed.broadcast(length, 0)
        text = torch.zeros(int(length.item()), dtype=torch.uint8, device=self.device)
        distributed.broadcast(text, 0)
        return json.loads(bytes(text.cpu().numpy()))

    def sum_gradients(self, parameters: Sequence[nn.Parameter], flag: bool) -> bool:
        """Replace every gradient by its sum over processes; return whether `flag` is set in any of them.

        A parameter that has a gradient nowhere keeps none, so that the optimiser passes it over as it does in one process.
        """
        if self.size == 1:
            return flag
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
        flags = torch.tensor([float(flag), *has_gradient], device=self.device)
        summed = self.sum(torch.cat([flags, *(gradient.flatten() for gradient in gradients)]))
        flags, *parts = summed.split([len(flags), *(parameter.numel() for parameter in parameters)])
        is_set, *holders = flags.tolist()
        for parameter, part, num_holders in zip(parameters, parts, holders, strict=True):
            parameter.grad = part.view_as(parameter) if num_holders else None
        return is_set > 0


def join_world() -> World:
    """Return this process's place: that which torchrun gave it (gloo on CPUs, nccl on GPUs), or alone on the best device."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # batches differ in length: memory would fragment
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32: with TF32, convolutions round to 10 bits
    has_gpu = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        return World(0, 1, torch.device("cuda" if has_gpu else "cpu"))
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if has_gpu else "gloo", timeout=PATIENCE)
    return World(distributed.get_rank(), distributed.get_world_size(), device)


def leave_world() -> None:
    """Close the process group, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
