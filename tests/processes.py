"""Commands in processes of their own that are forked from one in which everything is imported, which saves each the seconds of its start.

The processes that such a command starts itself (of `parallel`, or a sweep's workers) are forked from the same one.
"""

import functools
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from ser_mlops.tracking.command import run_tracked_command

ROOT = Path(__file__).parents[1]
FORKSERVER = multiprocessing.get_context("forkserver")
IMPORTED = ["ser_mlops.launching.sweep_job", "ser_mlops.launching.dispatch", "ser_mlops.experiments.reproduction", "tests.launching.sweeps"]
PATIENCE_S = 900
"""Ends what hangs; a machine shared by others may need ten times as long as an idle one."""


@dataclass
class Command:
    """A command in a process of its own."""

    process: BaseProcess
    log: Path

    @classmethod
    def start(cls, log: Path, run: Callable[..., None], *arguments: object) -> "Command":
        """Call a function in a process whose output goes to a file."""
        log.touch()
        _start_server()
        process = FORKSERVER.Process(target=_run, args=(log, run, arguments))
        process.start()
        return cls(process, log)

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def finish(self, code: int = 0) -> str:
        """Wait for its end; return what it printed."""
        self.process.join(timeout=PATIENCE_S)
        assert self.process.exitcode == code, self.output
        return self.output


@dataclass(frozen=True)
class Signal:
    """A signal that a command sends itself after a call whose arguments mention a word: however slow the machine is, it is at work then."""

    number: signal.Signals
    module: str
    name: str
    """Of the function, or of the class and its method."""
    word: str

    def arm(self) -> None:
        *classes, name = self.name.split(".")
        owner = functools.reduce(getattr, classes, importlib.import_module(self.module))
        call, is_sent = getattr(owner, name), threading.Event()

        def call_and_signal(*arguments: object, **options: object) -> object:
            result = call(*arguments, **options)
            if any(self.word in str(argument) for argument in arguments) and not is_sent.is_set():
                is_sent.set()
                os.kill(os.getpid(), self.number)
            return result

        setattr(owner, name, call_and_signal)


@functools.cache
def _start_server() -> None:
    """Start the process that others are forked from, with none of the caller's MLflow settings."""
    FORKSERVER.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            patch.delenv(name)
        patch.chdir(ROOT)
        first = FORKSERVER.Process(target=int)
        first.start()
        first.join()


def _run(log: Path, run: Callable[..., None], arguments: Sequence[object]) -> None:
    descriptor = os.open(log, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["PYTHONPATH"] = str(ROOT)  # a command's own processes import the project from here
    run(*arguments)


def run_module(folder: Path, module: str, words: Sequence[str], threads: int, disturbance: Signal | None) -> None:
    """Run `python -m module` in a folder; the code is that of the checkout."""
    import torch  # after tests/conftest.py has said how its threads wait

    os.chdir(folder)
    torch.set_num_threads(threads)
    if disturbance is not None:
        disturbance.arm()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [module, *words])
        run_tracked_command(module.rpartition(".")[2], importlib.import_module(module).main)


def run_program(folder: Path, program: str) -> None:
    """Run `python -c program` in a folder."""
    os.chdir(folder)
    exec(program, {"__name__": "__main__"})
