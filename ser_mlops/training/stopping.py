"""Requests to stop: SIGTERM, SIGINT and SIGUSR2 (Slurm's warning) set a flag, which the training loop checks between two steps.

Where there are no steps (caches, figures, tables) they raise Interrupted on the spot.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ser_mlops.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
REPEAT_S = 10.0
"""`mlflow run` passes Ctrl-C on as a SIGTERM: a signal so soon after another is the same request, and must not disturb the saving."""
_asked_at = -math.inf


class Stop:
    """Which signal asked for a stop; empty while none did."""

    signal_name = ""

    def __bool__(self) -> bool:
        return bool(self.signal_name)


@contextmanager
def watching_signals() -> Iterator[Stop]:
    """Yield a Stop that one of these signals sets. The old handlers return at the end.

    Where the block is interrupted, by the signal of another process perhaps, a signal that comes soon after is the same request: it must
    not disturb what closes the runs.
    """
    global _asked_at
    stop = Stop()

    def ask(name: str) -> None:
        stop.signal_name = name

    with _handling(ask):
        try:
            yield stop
        except Interrupted:
            _asked_at = time.monotonic()
            raise


@contextmanager
def raising_interrupted() -> Iterator[None]:
    """Raise Interrupted where one of these signals comes, so that whatever is open is closed. The old handlers return at the end."""

    def interrupt(name: str) -> None:
        raise Interrupted(name)

    with _handling(interrupt):
        yield


@contextmanager
def _handling(handle: Callable[[str], None]) -> Iterator[None]:
    """Pass the name of a signal to `handle`, unless it repeats one that this context or one within it was passed."""
    global _asked_at
    _asked_at = -math.inf
    old_handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def handle_new(number: int, frame: FrameType | None) -> None:
        global _asked_at
        is_repeated = time.monotonic() - _asked_at < REPEAT_S
        _asked_at = time.monotonic()
        if not is_repeated:
            handle(signal.Signals(number).name)

    for number in SIGNALS:
        signal.signal(number, handle_new)
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
