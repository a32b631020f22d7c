"""How many threads compute."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

SMALL = 1_000_000
"""A model of fewer weights (`tiny`) is too small to share out: an epoch of it took 0.14 s in one thread, 0.16 in two and, beside a busy
process, 0.16 and 0.45."""


@contextmanager
def keeping_threads() -> Iterator[None]:
    """Compute in as many threads after the block as before it, whatever the block sets."""
    num_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread what is too small to share out, or whose bits may not depend on the number of threads.

    A step of a head alone took 16 ms in two threads on two busy cores, 1.5 in one.
    """
    with keeping_threads():
        torch.set_num_threads(1)
        yield


def threads_for(num_parameters: int) -> AbstractContextManager[None]:
    """Compute with a model of so many weights: a small one in one thread, others in as many as there are."""
    return one_thread() if num_parameters < SMALL else nullcontext()
