"""Watches the processes that do what a command handed over, shows how far they are, and reports how the experiment ended."""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ser_mlops.data.progress import progress
from ser_mlops.errors import Interrupted, TrackingError, TrainingError
from ser_mlops.launching.closing import close_abandoned
from ser_mlops.launching.handover import Handover
from ser_mlops.tracking.recovery import bring
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import find_run, note_of, open_store


class Workers(Protocol):
    """Processes that do what was handed over, here or elsewhere."""

    def step(self) -> int:
        """Wait a little; return how many of them have ended."""

    def cancel(self) -> None:
        """Ask all of them to stop, and wait until they have."""

    def end_of(self, key: str | None) -> tuple[str, str]:
        """Return status and reason of the end of a round whose process left its run open; given None, of a sweep."""


def watch(handover: Handover, workers: Workers, num_workers: int, count: Callable[[int], int], total: int, name: str, unit: str) -> None:
    """Show progress until all workers have ended, then close what they left open; an interruption stops them first.

    `count` returns how many units are done, given how many workers have ended.
    """
    sender = Sender(open_store())
    try:
        with progress(total, name, unit) as bar:
            num_ended, num_done = 0, 0
            while num_ended < num_workers:
                num_ended = workers.step()
                if handover.is_relayed:
                    with suppress(TrackingError):  # which the end says, if it lasts until then
                        bring(sender, handover.folder.parent, handover.parent)
                num_before, num_done = num_done, count(num_ended)
                bar.update(num_done - num_before)
    except Interrupted:
        workers.cancel()
        raise
    finally:
        close_abandoned(handover, workers.end_of)


def report_end(handover: Handover, read: Callable[[], str]) -> None:
    """Print how the experiment ended, whoever closed it."""
    parent = find_run(open_store(), handover.parent)
    if parent.info.status == "FINISHED":
        print(read(), end="")
    elif parent.info.status == "FAILED":
        raise TrainingError(note_of(parent).removeprefix("Failed: "))
    else:
        raise Interrupted(note_of(parent))
