"""Where a result comes from: commit, code, environment and machine, as tags and text."""

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from email import message_from_string
from functools import cache
from pathlib import Path

from ser_mlops.files import sha256_of
from ser_mlops.tracking.imports import find_modules, import_closure

PACKAGE = Path(__file__).parents[1]
DECIDING = ("ser_mlops.experiments.plan", "ser_mlops.experiments.results", "ser_mlops.training.evaluate", "ser_mlops.training.fit")
"""What decides the numbers of a training: which clips, the scores that are recorded, predicting and training. Pages, figures, jobs and
the tracking itself decide none, so a change there blocks no resume."""


def commit_tags(folder: Path = PACKAGE.parent) -> dict[str, str]:
    """Return the commit and whether tracked files differ from it; `unknown` outside a git checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": "unknown"}
    return {"commit": commit, "dirty": str(dirty).lower()}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@cache
def code_listing(root: Path = PACKAGE.parent) -> str:
    """List the source files that the numbers of a training depend on, with the SHA-256 of each: DECIDING and all that they import.

    Read once per process: files that change while a training runs are not the code that it runs.
    """
    modules = find_modules(root)
    paths = [modules[name] for name in import_closure(DECIDING, modules)]
    return "".join(f"{sha256_of(path)}  {path.relative_to(root / PACKAGE.name).as_posix()}\n" for path in paths)


def code_hash() -> str:
    """Return a SHA-256 over `code_listing`."""
    return hashlib.sha256(code_listing().encode()).hexdigest()


def changed_files(then: str, now: str) -> list[str]:
    """Return the files in which two code listings differ.

    >>> changed_files("aa  seeds.py\\nbb  lock.py\\n", "aa  seeds.py\\ncc  lock.py\\ndd  new.py\\n")
    ['lock.py', 'new.py']
    """
    entries = {*then.splitlines()} ^ {*now.splitlines()}
    return sorted({entry.partition("  ")[2] for entry in entries})


def machine_tags() -> dict[str, str]:
    """Return the host, what computes there (the GPU, threads, processes per round) and, under Slurm, the job and its nodes."""
    import torch

    tags = {
        "host": socket.gethostname(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": str(torch.get_num_threads()),
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }
    job = slurm_job()
    return tags | ({"job": job, "nodes": os.environ.get("SLURM_JOB_NODELIST", socket.gethostname())} if job else {})


def slurm_job() -> str | None:
    """Return the id of the Slurm job that this process is part of, 12 or, in an array, 12_0; None outside of Slurm."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def environment_text() -> str:
    """List Python, the platform and every installed package with its version."""
    packages = sorted({*map(_pinned, importlib.metadata.distributions())}, key=str.lower)
    return "\n".join([f"# Python {platform.python_version()} on {platform.platform()}", *packages, ""])


def _pinned(package: importlib.metadata.Distribution) -> str:
    """Name a package with its version, from the head of its metadata: what follows is the README of the package, long to parse."""
    metadata = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    head = message_from_string(metadata.partition("\n\n")[0])
    return f"{head['Name']}=={head['Version']}"
