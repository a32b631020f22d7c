"""Processes of this machine that a command starts to share its work, and watches until each has ended."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch

from ser_mlops.commands import run_command

FORKSERVER = multiprocessing.get_context("forkserver")
"""A new process is forked from one that has imported everything and has no threads: it starts at once."""
POLL_S = 0.1


class ProcessPool:
    """Processes by key. Each runs one call as a command does: a user's mistake is one line and an exit code."""

    def __init__(self, preload: str) -> None:
        """`preload` is the module whose imports the processes find done."""
        FORKSERVER.set_forkserver_preload([preload])
        self.running: dict[str, BaseProcess] = {}

    def start(self, key: str, call: Callable[[], None], *, share: int = 1, gpu: int | None = None) -> None:
        """Start a process that may use one `share`-th of this process's threads, and sees no GPU but `gpu`, if one is given."""
        threads = max(1, torch.get_num_threads() // share)
        process = FORKSERVER.Process(target=_run, args=(call, threads, gpu))
        process.start()
        self.running[key] = process

    def wait(self) -> dict[str, int]:
        """Wait a little; return the exit codes of the processes that have ended meanwhile, by key."""
        time.sleep(POLL_S)
        return {key: self.running.pop(key).exitcode or 0 for key, process in [*self.running.items()] if process.exitcode is not None}

    def stop(self) -> None:
        """Ask all of them to stop, and wait until they have."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.join()


def _run(call: Callable[[], None], threads: int, gpu: int | None) -> None:
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)  # read when CUDA is first used
    torch.set_num_threads(threads)
    run_command(call)
