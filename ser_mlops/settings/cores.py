"""How many cores a process may use."""

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return how many cores this process may use: those it is bound to, or as many as its control group is granted, if these are fewer."""
    try:
        granted, period = CGROUP_QUOTA.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # not Linux, or no control group of version 2
        return bound_cores()
    return bound_cores() if granted == "max" else max(1, min(bound_cores(), round(int(granted) / int(period))))


def bound_cores() -> int:
    """Return the number of cores that this process is bound to."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS binds no process to cores
