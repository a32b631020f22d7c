"""Records that must reach a server exactly once: appended to a file first, then sent in order by a thread that survives outages.

One outbox is one folder: `records.jsonl` (one JSON object a line, appended and never changed), `sent` (number of bytes that arrived),
`lock` (held by the process that fills it) and, where the server refused any, `refused.jsonl`. Sending is at-least-once and in order; the
sender must make repeated delivery harmless, as MLflow does for metrics with a fixed timestamp. What an outage or a kill leaves behind is
sent by the next `drain`.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ser_mlops.errors import TrackingError
from ser_mlops.files import remove, write_text

Record = Mapping[str, Any]
Deliver = Callable[[Sequence[Record]], None]
"""Sends records in order; raises Unreachable if they should be tried again later, TrackingError if one of them is refused for good."""
BATCH_RECORDS = 500
LONGEST_PAUSE_S = 30.0
OUTBOX = "outbox"
"""Folder under paths.checkpoints that holds records until the tracking server has them."""
RECORDS, SENT, REFUSED = "records.jsonl", "sent", "refused.jsonl"


class Unreachable(Exception):
    """The server did not answer; nothing is wrong with what was sent."""


@dataclass(frozen=True)
class Pace:
    """How often an outbox sends, and how long it waits for an unreachable server when it is closed."""

    interval_s: float = 2.0
    patience_s: float = 20.0


PACE = Pace()


class Outbox:
    """Append records; a thread sends them every `pace.interval_s`, doubling the pause (to 30 s at most) while the server is unreachable.

    The thread also calls `each_tick` in that interval. A record that the server refuses is set aside, and the next `append`, `flush` or
    `close` raises the refusal once; the records after it are sent all the same.
    """

    def __init__(
        self, folder: Path, deliver: Deliver, pace: Pace = PACE, each_tick: Callable[[], None] = lambda: None, *, is_kept: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._deliver = deliver
        self._pace = pace
        self._each_tick = each_tick
        self._is_kept = is_kept
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            raise TrackingError(f"{folder.name} is being written by another process: wait for it to end") from None
        _cut_torn_line(folder / RECORDS)
        self._file = (folder / RECORDS).open("ab")
        self._writing, self._sending = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._failure: TrackingError | OSError | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> None:
        """Write a record to disk; it is sent soon after."""
        line = json.dumps(record).encode() + b"\n"
        with self._writing:
            self._file.write(line)
            self._file.flush()
        self._raise_failure()

    def flush(self) -> bool:
        """Send what waits; return whether the server accepted it."""
        try:
            self._send()
        except Unreachable:
            return False
        self._raise_failure()
        return True

    def close(self) -> bool:
        """Send what is left, trying for `pace.patience_s` seconds; return whether all arrived. The folder is removed if so, or kept."""
        self._stop.set()
        self._thread.join()
        os.fsync(self._file.fileno())
        self._file.close()
        deadline, pause_s = time.monotonic() + self._pace.patience_s, 0.5
        try:
            while not self.flush():
                if time.monotonic() >= deadline:
                    return False
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 5.0)
            return True
        finally:
            if not self._is_kept and _num_waiting_bytes(self.folder) == 0:
                _remove_sent(self.folder)
            self._lock.release()

    def _run(self) -> None:
        pause_s, resume_at = self._pace.interval_s, 0.0
        while not self._stop.wait(self._pace.interval_s):
            try:
                self._each_tick()
                if time.monotonic() >= resume_at:
                    self._send()
                    pause_s = self._pace.interval_s
            except Unreachable:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                resume_at = time.monotonic() + pause_s
            except (TrackingError, OSError) as failure:
                self._failure = failure

    def _send(self) -> None:
        with self._sending:
            send(self.folder, self._deliver)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def send(folder: Path, deliver: Deliver) -> None:
    """Send the complete records of an outbox that have not arrived, in order, noting after each batch how far it got.

    Raises:
        Unreachable: the server is unreachable; the rest waits.
        TrackingError: everything was sent, except for records that the server refused, which are kept in `refused.jsonl`.
    """
    sent, refusal = _num_sent_bytes(folder), None
    for lines in _batches(folder / RECORDS, sent):
        try:
            deliver([json.loads(line) for line in lines])
        except TrackingError:
            refusal = _send_one_by_one(folder, lines, deliver) or refusal
        sent += sum(map(len, lines))
        write_text(folder / SENT, str(sent))
    if refusal is not None:
        raise TrackingError(f"{refusal} (kept in {folder / REFUSED})")


def _batches(path: Path, start: int) -> Iterator[list[bytes]]:
    """Yield the complete lines of a file that may be growing."""
    with path.open("rb") as file:
        file.seek(start)
        lines = []
        while (line := file.readline()).endswith(b"\n"):
            lines.append(line)
            if len(lines) == BATCH_RECORDS:
                yield lines
                lines = []
    if lines:
        yield lines


def _send_one_by_one(folder: Path, lines: Sequence[bytes], deliver: Deliver) -> TrackingError | None:
    """Send records one at a time, because one of them was refused; set the refused ones aside and return the last refusal."""
    last = None
    for line in lines:
        try:
            deliver([json.loads(line)])
        except TrackingError as refusal:
            last = refusal
            with (folder / REFUSED).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"reason": str(refusal), "record": json.loads(line)}) + "\n")
    return last


def _cut_torn_line(path: Path) -> None:
    """Remove a last line that a kill left incomplete."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _num_sent_bytes(folder: Path) -> int:
    return int((folder / SENT).read_text()) if (folder / SENT).exists() else 0


def _num_waiting_bytes(folder: Path) -> int:
    """Return how many bytes of complete records have not arrived."""
    return sum(len(line) for lines in _batches(folder / RECORDS, _num_sent_bytes(folder)) for line in lines)


def _remove_sent(folder: Path) -> None:
    """Remove an outbox whose records all arrived, keeping those that were refused; the caller holds its lock."""
    if (folder / REFUSED).exists():
        (folder / RECORDS).unlink()
        (folder / SENT).unlink()
    else:
        remove(folder)


@dataclass
class Drained:
    """What happened to the outboxes of earlier processes, by folder."""

    delivered: list[Path] = field(default_factory=list)
    waiting: list[Path] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def drain(root: Path, deliver: Deliver, finish: Callable[[Path], None] = lambda folder: None) -> Drained:
    """Send what earlier processes left in the outboxes under `root`. Outboxes of live processes are left to them.

    `finish` is called with every outbox whose records arrived, before it is removed; raising Unreachable leaves it for the next start.
    """
    drained = Drained()
    for records in sorted(root.glob(f"*/{RECORDS}")):
        folder = records.parent
        try:
            with FileLock(folder / "lock", timeout=0):
                if records.exists():
                    try:
                        send(folder, deliver)
                    except TrackingError as refusal:
                        drained.refusals.append(str(refusal))
                    finish(folder)
                    _remove_sent(folder)
                    drained.delivered.append(folder)
        except Timeout:
            continue
        except Unreachable:
            drained.waiting.append(folder)
    return drained
