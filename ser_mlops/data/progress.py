"""How far long work is: a bar on a terminal; in a file, a line every half minute with the same facts."""

import sys
from collections.abc import Callable
from typing import IO, Any

from tqdm import tqdm

LINE_SECONDS = 30.0
LINE_FORMAT = "{desc}: {n_fmt} of {total_fmt} UNITS, {rate_fmt}, {elapsed} so far, {remaining} left{postfix}"


class _WholeLines:
    """A stream without the carriage returns and empty lines with which a bar moves the cursor."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(f"{' '.join(text.split())}\n")

    def flush(self) -> None:
        self._stream.flush()


class _Lines(tqdm):
    """A bar whose states are lines, no more often than every half minute."""

    last_print_t: float

    def refresh(self, *arguments: Any, **options: Any) -> None:
        """Print the state, where it is time for a line: facts that change (`set_postfix`) would refresh a bar each time."""
        if not hasattr(self, "start_t"):  # the first line, from tqdm's __init__
            super().refresh(*arguments, **options)
        elif self._time() - self.start_t >= self.delay and self._time() - self.last_print_t >= self.mininterval:
            super().refresh(*arguments, **options)
            self.last_print_t = self._time()

    def moveto(self, n: int) -> None:
        """Stay where the last line ended: a bar below another one moves the cursor, with codes that a file would keep."""

    @staticmethod
    def status_printer(file: IO[str]) -> Callable[[str], None]:
        def write(line: str) -> None:
            file.write(line)
            file.flush()

        return write


def progress(total: float, description: str, unit: str, units: str = "", **options: Any) -> "tqdm[Any]":
    """Return a bar for `total` units, to be used as tqdm's are; work that ends within half a minute leaves no line in a file.

    `units` is the plural where it is not the unit with an s.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, desc=description, unit=unit, **options)
    options |= {
        "mininterval": LINE_SECONDS,
        "miniters": 1,
        "delay": LINE_SECONDS,
        "bar_format": LINE_FORMAT.replace("UNITS", units or f"{unit}s"),
    }
    return _Lines(total=total, desc=description, unit=unit, file=_WholeLines(sys.stderr), **options)
