"""Draws the figures of finished rounds in a process of its own, while the next round trains.

The process reads pickled drawings from its standard input, each with the folder to write to, and answers each with a line; it ends when
its input does, and so when the process that started it dies. What a kill leaves undrawn, a resume draws (`recording.draw_missing`).
"""

import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from ser_mlops.data.progress import progress
from ser_mlops.experiments.artifacts import FIGURES_FOLDER
from ser_mlops.experiments.drawing import RoundDrawing, round_figures

if TYPE_CHECKING:
    from ser_mlops.tracking.runlog import RunLog


class DrawingProcess:
    """Takes drawings of rounds and logs their figures once they are drawn; at the end of the block all are."""

    def __init__(self) -> None:
        paths = filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ser_mlops.experiments.drawing_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is meant for the training, which lets this process draw what it has
        )
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._drawn: list[Future[None]] = []

    def __enter__(self) -> "DrawingProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._show_progress()
            self._thread.shutdown(wait=True)
        finally:  # an interruption of this wait changes nothing: a folder that went away now would fail the process in mid-figure
            self._thread.shutdown(wait=True)
            self._process.communicate()
        if error is None:
            for future in self._drawn:
                future.result()

    def _show_progress(self) -> None:
        """Wait for the figures that are left; those of many short rounds take longer than the rounds."""
        left = [future for future in self._drawn if not future.done()]
        with progress(len(left), "drawing figures", "round", leave=False, disable=not left) as bar:
            for future in left:
                wait([future])
                bar.update()

    def draw(self, run: "RunLog", drawing: RoundDrawing) -> None:
        """Have the figures of a round drawn and logged to its run; return at once."""
        self._drawn.append(self._thread.submit(self._draw, run, drawing))

    def _draw(self, run: "RunLog", drawing: RoundDrawing) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if not self._ask(folder, drawing):  # the process died, for lack of memory perhaps
                draw_into(folder, drawing)
            for file in drawing.files:
                with run.artifact(file, FIGURES_FOLDER) as path:
                    path.write_bytes((folder / file).read_bytes())

    def _ask(self, folder: Path, drawing: RoundDrawing) -> bool:
        """Wait until the process has drawn; return whether it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((folder, drawing), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return bool(self._process.stdout.readline())


def draw_into(folder: Path, drawing: RoundDrawing) -> None:
    """Write the figures of a round to a folder."""
    from ser_mlops.scores.figures.style import files_of, save

    for name, figure in round_figures(drawing):
        for file in files_of(name, drawing.figures):
            save(figure, folder / file)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Draw whatever is asked for, until the requests end."""
    import ser_mlops.scores.figures.testing  # noqa: F401  (imported before the first request comes)

    while True:
        try:
            folder, drawing = pickle.load(requests)
        except EOFError:
            return
        draw_into(folder, drawing)
        answers.write(b"drawn\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
