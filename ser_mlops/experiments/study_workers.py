"""The processes that work on one study: what they share, which of them leads, and which have died.

One process leads: only it adds trials and requeues those of dead workers, so that nothing is done twice. A worker of this machine is
dead when its process is gone, one of another machine when its heartbeat has stopped.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
import psutil
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from ser_mlops.experiments.study_storage import first_line, locked

HEARTBEAT_S = 30.0
DEAD_AFTER_S = 300.0
"""How long the heartbeat of a worker on another machine may be silent."""
ALIVE = "alive: "
"""Begins the names under which workers share when they were last alive."""


class Workers:
    """The processes that work on a study, seen by this one."""

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        self.me = f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}"
        """Names this process: host, number and start."""
        self._study = study
        self._storage = storage

    def claim_lead(self) -> bool:
        """Lead the study, unless another process does."""
        with locked(self._storage, self._study.study_name):
            leader = self.shared("leader")
            if leader is not None and leader != self.me and self.is_alive(leader):
                return False
            self.share(leader=self.me)
        return True

    def resign(self) -> None:
        """Give up the lead, at the end or because this process is asked to stop: the next start may take it at once, on any machine."""
        with suppress(StorageInternalError), locked(self._storage, self._study.study_name):
            if self.shared("leader") == self.me:
                self.share(leader=None)

    def share(self, **values: Any) -> None:
        for name, value in values.items():
            self._study.set_user_attr(name, value)

    def shared(self, name: str) -> Any:
        """Return what was shared under a name; None if nothing was."""
        return self._study.user_attrs.get(name)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Record regularly, while the block runs, that this process is alive."""
        stopped = threading.Event()
        self._beat()
        thread = threading.Thread(target=self._keep_beating, args=(stopped,), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _keep_beating(self, stopped: threading.Event) -> None:
        while not stopped.wait(HEARTBEAT_S):
            try:
                self._beat()
            except StorageInternalError as error:
                print(f"study {self._study.study_name}: no heartbeat, the database is unreachable ({first_line(error)})")

    def _beat(self) -> None:
        self.share(**{f"{ALIVE}{self.me}": time.time()})

    def has_others(self) -> bool:
        """Whether another process that has worked on the study is alive."""
        workers = [name.removeprefix(ALIVE) for name in self._study.user_attrs if name.startswith(ALIVE)]
        return any(self.is_alive(worker) for worker in workers if worker != self.me)

    def is_alive(self, worker: str) -> bool:
        host, pid, started = worker.split()
        if host == socket.gethostname():
            return _is_running(int(pid), float(started))
        return time.time() - (self.shared(f"{ALIVE}{worker}") or 0.0) < DEAD_AFTER_S


def _is_running(pid: int, started: float) -> bool:
    """Say whether a process is running and is not a later one with the same number (clocks are set by fractions of a second)."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
