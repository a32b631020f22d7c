"""Rounds side by side on this machine: each in a process of its own, so many at once, on its GPUs in turn."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ser_mlops.errors import TrainingError
from ser_mlops.launching.handover import Handover
from ser_mlops.launching.processes import FORKSERVER, ProcessPool
from ser_mlops.launching.round_job import fill_caches, run_round
from ser_mlops.settings.cores import available_cores

CONTEXT_BYTES = 700e6
"""What a process takes of a GPU besides what torch knows about."""
USABLE_SHARE = 0.95
CACHES = "caches"


class RoundPool:
    """Runs the rounds of a handover, `parallel` of them at once; `auto`: as many as fit, once the first shows its size."""

    def __init__(self, handover: Handover, parallel: int | str, fills: bool) -> None:
        self.handover = handover
        self.waiting = list(handover.runs)
        self.processes = ProcessPool(__name__)
        self.gpus: dict[str, int] = {}
        """The GPU that each round was given."""
        self.codes: dict[str, int] = {}
        """Exit codes of the processes that have ended, by key."""
        self.num_gpus = torch.cuda.device_count()
        self.size = parallel if isinstance(parallel, int) else 1 if self.num_gpus else available_cores()
        self.share = FORKSERVER.Value("d", 0.0) if parallel == "auto" and self.num_gpus else None
        """Share of a GPU's memory that a round took, once one has reported it."""
        if fills and handover.runs:
            self._fill_caches()

    def _fill_caches(self) -> None:
        """Fill the caches in a process of its own, so that GPU and memory are free when the rounds begin."""
        self.processes.start(CACHES, partial(fill_caches, self.handover.folder), share=self.size)
        try:
            while not (ended := self.processes.wait()):
                pass
        finally:
            self.processes.stop()
        if code := ended[CACHES]:
            raise TrainingError(f"the caches could not be filled: their process ended with exit code {code}")

    def step(self) -> int:
        if self.share is not None and self.share.value:
            self.size = max(1, int(USABLE_SHARE / self.share.value)) * self.num_gpus
        while self.waiting and len(self.processes.running) < self.size:
            key = self.waiting.pop(0)
            if self.num_gpus:
                self.gpus[key] = min(range(self.num_gpus), key=[self.gpus[other] for other in self.processes.running].count)
            call = partial(_run_round, self.handover.folder, key, self.share)
            self.processes.start(key, call, share=self.size, gpu=self.gpus.get(key))
        self.codes |= self.processes.wait()
        return len(self.codes)

    def cancel(self) -> None:
        self.waiting.clear()
        self.processes.stop()

    def end_of(self, key: str | None) -> tuple[str, str]:
        assert key is not None
        if key in self.codes:
            return "FAILED", f"Failed: its process ended with exit code {self.codes[key]}"
        return "KILLED", "Never started."


def _run_round(folder: Path, key: str, share: Any) -> None:
    run_round(folder, key, {})
    if share is not None:
        share.value = (torch.cuda.max_memory_reserved() + CONTEXT_BYTES) / torch.cuda.get_device_properties(0).total_memory
