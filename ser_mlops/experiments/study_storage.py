"""Where studies are kept: a journal file, or a database that several machines reach."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from ser_mlops.errors import SettingsError, TrackingError

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
def needing_storage(name: str) -> Iterator[None]:
    """Report in one line that the database of a study became unreachable."""
    try:
        yield
    except StorageInternalError as error:
        reason = first_line(error.__cause__ or error)
        raise TrackingError(f"the database of study {name!r} is unreachable ({reason}): the same command resumes the sweep") from error


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
