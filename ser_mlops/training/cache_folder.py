"""A folder of caches: what lies in it, what may be removed, and the locks by which one process fills a cache while others wait."""

import errno
import fcntl
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ser_mlops.training.caches import read_label

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Let one process fill a cache (LOCK_EX) while the others wait, or several look at one (LOCK_SH)."""
    with path.with_suffix(".lock").open("w") as file:
        if not _lock(file, how | fcntl.LOCK_NB):
            log.warning("waiting for the process that fills %s", path.name)
            _lock(file, how)
        yield


def _lock(file: IO[str], how: int) -> bool:
    """Lock a file; where the file system has no locks, say so too: two may then compute the same bytes, and the later rename wins."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


@dataclass(frozen=True)
class Entry:
    """What a cache folder holds under one name: a cache, or what a killed process left of one (no label)."""

    name: str
    paths: tuple[Path, ...]
    label: Mapping[str, Any]

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)


def list_caches(folder: Path) -> list[Entry]:
    """Return what a cache folder holds, by name."""
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*")):
        if found := re.fullmatch(r"\.?([^.]+)\.(npy|json|lock)(\..*\.tmp)?", path.name):
            by_name.setdefault(found[1], []).append(path)
    labels = {name: folder / f"{name}.json" for name in by_name}
    return [Entry(name, tuple(paths), read_label(labels[name]) if labels[name].is_file() else {}) for name, paths in by_name.items()]


def clear_cache(entry: Entry) -> bool:
    """Remove what is under one name, unless a process is filling it; return whether it was removed."""
    with entry.paths[0].with_name(f"{entry.name}.lock").open("w") as file:
        if not _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        for path in {*entry.paths, Path(file.name)}:
            path.unlink(missing_ok=True)
    return True
