"""What a user can get wrong: every message names the offender, the place and what would be accepted."""

from collections.abc import Iterable


class SerError(Exception):
    """A mistake that the user can fix; commands print it as one line and exit with `exit_code`."""

    exit_code = 2


class SettingsError(SerError):
    """A parameter, or a key of params.yaml, that is unknown, missing or out of range."""


class DataError(SerError):
    """A corpus folder, catalogue, audio file or frame that is missing, malformed or stale."""


class ModelError(SerError):
    """A checkpoint that is unreachable, incomplete or of another architecture."""


class CheckpointError(SerError):
    """A saved training state that belongs to other settings, other data or other code."""


class TrainingError(SerError):
    """A training that cannot continue: a loss that is not finite, memory or disk that ran out."""


class TrackingError(SerError):
    """A tracking store, run or experiment that cannot be used as asked."""


class Interrupted(SerError):
    """The process was asked to stop (SIGTERM, SIGINT) and has saved its state."""

    exit_code = 143


class Postponed(Interrupted):
    """The process was asked to stop, has saved its state, and is started again by itself: a Slurm job that goes back into the queue."""


def counted(number: int, unit: str) -> str:
    """Return a number with its unit.

    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{number} {unit}{'' if number == 1 else 's'}"


def one_of(kind: str, offender: object, accepted: Iterable[object]) -> str:
    """Word the commonest message of all.

    >>> one_of("corpus", "RAVDES", ["CAFE", "CREMA"])
    "unknown corpus 'RAVDES', expected one of: CAFE, CREMA"
    """
    return f"unknown {kind} {offender!r}, expected one of: {', '.join(str(name) for name in accepted)}"
