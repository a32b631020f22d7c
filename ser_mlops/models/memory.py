"""A device that runs out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ser_mlops.errors import TrainingError


@contextmanager
def advising(when: str, advice: str) -> Iterator[None]:
    """Say what to change where the memory of a GPU runs out.

    Raises:
        TrainingError: it did.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"out of memory {when}: {advice} ({str(error).splitlines()[0]})") from error
