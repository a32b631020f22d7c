"""Rounds side by side on this machine: each in a process of its own, so many at once, on its GPUs in turn."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from ser_mlops.commands import run_command
from ser_mlops.errors import TrainingError
from ser_mlops.launching.orders import Order, fill, run_round

PROCESSES = multiprocessing.get_context("forkserver")
"""A round's process is forked from one that has imported everything and has no threads: it starts at once."""
CONTEXT_BYTES = 700e6
"""What a process takes of a GPU besides what torch knows of."""
USABLE_SHARE = 0.95
POLL_S = 0.1


class Pool:
    """Runs the rounds of an order, `parallel` of them at once; `auto`: as many as fit beside each other, once the first tells its size."""

    def __init__(self, order: Order, parallel: int | str, fills: bool) -> None:
        self.order = order
        self.waiting = list(order.runs)
        self.workers: dict[str, BaseProcess] = {}
        self.gpus: dict[str, int] = {}
        """The GPU that each of them was given."""
        self.codes: dict[str, int] = {}
        """Exit codes of the processes that have ended, by key."""
        self.num_gpus = torch.cuda.device_count()
        self.size = parallel if isinstance(parallel, int) else 1 if self.num_gpus else len(os.sched_getaffinity(0))
        self.share = PROCESSES.Value("d", 0.0) if parallel == "auto" and self.num_gpus else None
        """Share of a GPU's memory that a round took, once one has told it."""
        PROCESSES.set_forkserver_preload([__name__])
        if fills and order.runs:
            self._fill()

    def _fill(self) -> None:
        """Fill the caches in a process of its own, so that GPU and memory are free when the rounds begin."""
        process = self._start(fill, (self.order.folder,), None)
        try:
            process.join()
        finally:
            process.terminate()
        if process.exitcode:
            raise TrainingError(f"the caches could not be filled: their process ended with code {process.exitcode}")

    def step(self) -> int:
        if self.share is not None and self.share.value:
            self.size = max(1, int(USABLE_SHARE / self.share.value)) * self.num_gpus
        while self.waiting and len(self.workers) < self.size:
            key = self.waiting.pop(0)
            if self.num_gpus:
                self.gpus[key] = min(range(self.num_gpus), key=[self.gpus[other] for other in self.workers].count)
            self.workers[key] = self._start(run_round, (self.order.folder, key, {}), self.gpus.get(key), self.share)
        time.sleep(POLL_S)
        for key in [key for key, worker in self.workers.items() if worker.exitcode is not None]:
            self.codes[key] = self.workers.pop(key).exitcode or 0
        return len(self.codes)

    def _start(self, work: Callable[..., None], arguments: tuple[Any, ...], gpu: int | None, share: Any = None) -> BaseProcess:
        threads = max(1, torch.get_num_threads() // self.size)
        process = PROCESSES.Process(target=_run_in_process, args=(work, arguments, gpu, threads, share))
        process.start()
        return process

    def cancel(self) -> None:
        self.waiting.clear()
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.join()

    def end_of(self, key: str | None) -> tuple[str, str]:
        assert key is not None
        if key in self.codes:
            return "FAILED", f"Failed: its process ended with code {self.codes[key]}"
        return "KILLED", "Never started."


def _run_in_process(work: Callable[..., None], arguments: tuple[Any, ...], gpu: int | None, threads: int, share: Any) -> None:
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)  # read when CUDA is first used
    torch.set_num_threads(threads)

    def command() -> None:
        work(*arguments)
        if share is not None:
            share.value = (torch.cuda.max_memory_reserved() + CONTEXT_BYTES) / torch.cuda.get_device_properties(0).total_memory

    run_command(command)
