"""Where studies are kept: a journal file, or a database that several machines reach."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from ser_mlops.errors import SettingsError, TrackingError

LOCK_PAUSE_S, LOCK_PATIENCE_S = 0.05, 10.0
"""Whoever holds the lock of a study has it for a few requests; one that is held for longer was left by a process that died."""
TABLE_PAUSES_S = 0.5, 2.0, 5.0
"""Between attempts to open a database whose tables another process creates."""


class _JournalLock:
    """A journal lock that is released when its process ends; those of Optuna outlive a killed process for a grace period."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire(poll_interval=0.002)
        return True

    def release(self) -> None:
        self._lock.release()


def open_journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path), _JournalLock(path.with_suffix(".journal.lock"))))  # type: ignore[arg-type]


def open_database(url: str) -> BaseStorage:
    """Open a database. Where several processes create the tables of a fresh one at once, all but one are refused and retry."""
    checked = {"pool_pre_ping": True}
    try:
        for pause_s in TABLE_PAUSES_S:
            with suppress(IntegrityError, ProgrammingError):
                return RDBStorage(url, engine_kwargs=checked)
            time.sleep(pause_s)
        return RDBStorage(url, engine_kwargs=checked)
    except (SQLAlchemyError, ImportError, StorageInternalError) as error:
        raise SettingsError(f"storage={url} cannot be opened ({first_line(error)}), expected a URL such as postgresql://…") from error


@contextmanager
def locked(storage: BaseStorage, name: str) -> Iterator[None]:
    """Hold the lock of a study, which whoever reaches its storage respects, from whichever folder or machine.

    The lock is an empty study: storages accept a name once, and that is the one thing that all of them do in one step.
    """
    lock, deadlines = f"{name} (locked)", dict[int, float]()
    while True:
        try:
            own = storage.create_new_study([StudyDirection.NOT_SET], lock)
            break
        except DuplicatedStudyError:
            with suppress(KeyError):  # it was released meanwhile
                held = storage.get_study_id_from_name(lock)
                if time.monotonic() > deadlines.setdefault(held, time.monotonic() + LOCK_PATIENCE_S):
                    storage.delete_study(held)
            time.sleep(LOCK_PAUSE_S)
    try:
        yield
    finally:
        with suppress(KeyError):
            storage.delete_study(own)


@contextmanager
def needing_storage(name: str) -> Iterator[None]:
    """Report in one line that the database of a study became unreachable."""
    try:
        yield
    except StorageInternalError as error:
        reason = first_line(error.__cause__ or error)
        raise TrackingError(f"the database of study {name!r} is unreachable ({reason}): the same command resumes the sweep") from error


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
