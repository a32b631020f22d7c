"""A speech emotion recognition laboratory, as a notebook uses it: `import ser_mlops as ser` (docs/python.md).

The names below are loaded when they are first asked for (PEP 562, SPEC 1 of Scientific Python), because every module of the package runs
this file first: it may import nothing, and no number may depend on it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors; Python reads HOMES
    from ser_mlops.data.opening import frame as frame
    from ser_mlops.data.opening import wave as wave
    from ser_mlops.experiments.encoders import embeddings as embeddings
    from ser_mlops.experiments.reading import compare as compare
    from ser_mlops.experiments.reading import predictions as predictions
    from ser_mlops.experiments.reading import rounds as rounds
    from ser_mlops.experiments.reading import runs as runs
    from ser_mlops.scores.summary import score_table as score_table
    from ser_mlops.serving.loading import load as load

HOMES = {
    "frame": "data.opening",
    "wave": "data.opening",
    "runs": "experiments.reading",
    "rounds": "experiments.reading",
    "predictions": "experiments.reading",
    "score_table": "scores.summary",
    "compare": "experiments.reading",
    "embeddings": "experiments.encoders",
    "load": "serving.loading",
}
"""Name -> the module that has it. None is the name of a room or of a module beside them, which an import would put in its place."""

__all__ = [*HOMES]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}, expected one of: {', '.join(HOMES)}")
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *HOMES})
