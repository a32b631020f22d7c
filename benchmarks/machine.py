"""What a result was measured on, without anything that names the machine or its folders."""

import datetime
import os
import platform
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEASURED = ("ser_mlops", "pipelines", "benchmarks/*.py", "requirements.lock", "params.yaml")
"""What decides a result; a result file that was rewritten does not make the tree dirty."""
LIBRARIES = ("torch", "transformers", "numpy")


def machine_facts() -> dict[str, str]:
    """Return CPU, cores that may be used, memory, GPU, system and versions."""
    facts = {
        "cpu": cpu_model(),
        "cores": str(usable_cores()),
        "memory": f"{memory_gib():.0f} GiB",
        "gpu": gpu_model() or "none",
        "system": platform.system(),
        "python": platform.python_version(),
    }
    return facts | {name: version for name in LIBRARIES if (version := installed_version(name))}


def installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the processor's name as Linux or macOS gives it."""
    if sys.platform == "darwin":
        return subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True).stdout.strip()
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return re.sub(r"\((R|TM)\)|\bCPU\b|@.*", "", names[0]).strip() if names else platform.machine()


def usable_cores() -> int:
    """Return the number of cores this process may use: those it is bound to, or what its control group is granted."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    granted, period = quota.read_text().split() if quota.is_file() else ("max", "1")
    return bound if granted == "max" else max(1, min(bound, round(int(granted) / int(period))))


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def gpu_model() -> str | None:
    """Return the name of the first GPU that torch can use, if torch is there and can."""
    if installed_version("torch") is None:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def hardware_name(facts: dict[str, str]) -> str:
    """Return the hardware as part of a file name.

    >>> hardware_name({"gpu": "none", "cpu": "Intel Xeon Platinum 8481C", "cores": "2"})
    'intel-xeon-platinum-8481c-2-cores'
    """
    name = facts["gpu"] if facts["gpu"] != "none" else f"{facts['cpu']} {facts['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def month() -> str:
    return datetime.date.today().strftime("%Y-%m")


def commit() -> str:
    """Return the short commit, `+changes` where what is measured differs from it; `unknown` outside a git checkout."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return f"{head}+changes" if _git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED) else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process so far, plus that of its largest child that has ended.

    Linux's VmHWM belongs to this program alone; `ru_maxrss` would start at what the parent held when it forked.
    """
    unit = 2**20 if sys.platform == "darwin" else 2**10
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), flags=re.MULTILINE)[0]) / 2**10 + children
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit + children


def forget_peak_memory() -> float:
    """Reset the peak of this process, where the system can (Linux); return the MiB that it holds."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return peak_memory_mib()


def without_paths(text: str) -> str:
    """Return a message with the folders of this machine cut from the paths it names.

    >>> without_paths("cannot open '/home/ana/project/data/x.wav'")
    "cannot open 'x.wav'"
    """
    return re.sub(r"(?:/[^\s/'\":]+)+/([^\s/'\":]*)", r"\1", text)
