"""The jobs of an experiment on a Slurm cluster: an array with one job per round, after the one that fills the caches.

submitit writes the batch scripts and pickles what they call (`slurm_jobs`).
"""

import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_mlops.errors import SettingsError
from ser_mlops.launching.slurm_jobs import CachesJob, ClosingJob
from ser_mlops.launching.slurm_queue import JOBS_FOLDER, Jobs, job_name
from ser_mlops.settings.jobs import SlurmSettings

RESTARTS = 10**6
"""submitit counts how often a job ran into its time limit; ours may as often as they need, as each time they make progress."""
CLOSING = {"cpus": 1, "memory": "4G", "gpus": 0, "nodes": 1}
"""What the job needs that closes an experiment after its last round."""


def options_of(settings: SlurmSettings) -> dict[str, Any]:
    """Return the options of sbatch that a job is asked for with; True where one has no value.

    >>> from ser_mlops.settings.reading import read_settings
    >>> options_of(read_settings().slurm)["mem"]
    '32G'
    """
    extra = (option.removeprefix("--").partition("=") for option in settings.extra)
    asked = {
        "partition": settings.partition,
        "account": settings.account,
        "time": minutes_of(settings.time),
        "nodes": settings.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": settings.cpus,
        "mem": settings.memory,
        "gpus-per-node": settings.gpus or None,
        "requeue": True,
        **{name: value if equals else True for name, equals, value in extra},
    }
    return {name: value for name, value in asked.items() if value is not None}


def as_flags(options: Mapping[str, Any]) -> list[str]:
    """Write options as a command line has them."""
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]


def minutes_of(time_limit: str) -> int:
    """Return a time limit as Slurm writes it in whole minutes.

    >>> [minutes_of(text) for text in ("90", "1:30", "2:00:00", "1-00:00:00", "1-12")]
    [90, 2, 120, 1440, 2160]
    """
    days, _, clock = time_limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    else:
        hours, minutes, seconds = parts if len(parts) == 3 else (0, *parts, 0)[:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + math.ceil(seconds / 60)


def submit(folder: Path, call: Any, keys: Sequence[str], settings: SlurmSettings, *, fills: bool, closes: bool) -> Jobs:
    """Queue a call with each key, as an array; before it the job that fills the caches, if there is one, and with `closes` one after it.

    Raises:
        SettingsError: Slurm refuses a job. What was queued before it is cancelled.
    """
    jobs: list[str] = []
    try:
        if fills:
            alone = settings.model_copy(update={"nodes": 1, "gpus": min(1, settings.gpus)})
            jobs += _queue(folder, alone, CachesJob(folder), "caches")
        after = {"dependency": f"afterok:{jobs[0]}", "kill-on-invalid-dep": "yes"} if jobs else {}
        array = _queue(folder, settings, call, "array", keys, after)[0].partition("_")[0]
        jobs.append(array)
        if closes:
            small = settings.model_copy(update=CLOSING)
            close = ClosingJob(folder, array, jobs[0] if fills else None, tuple(keys))
            _queue(folder, small, close, "closing", more={"dependency": f"afterany:{array}"})
    except BaseException:
        if jobs:
            subprocess.run(["scancel", *jobs], capture_output=True, check=False)
        raise
    return Jobs(folder, array, jobs[0] if fills else None, keys)


def _queue(
    folder: Path, settings: SlurmSettings, call: Any, name: str, keys: Sequence[str] | None = None, more: Mapping[str, Any] | None = None
) -> list[str]:
    """Queue a call, or one with each key as an array; return the ids of its jobs."""
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder / JOBS_FOLDER, max_num_timeout=RESTARTS)
    executor.update_parameters(
        job_name=job_name(folder, name),
        time=minutes_of(settings.time),
        signal_delay_s=settings.grace,
        array_parallelism=settings.at_once,
        stderr_to_stdout=True,
        setup=list(settings.setup) or None,
        srun_args=[f"--cpus-per-task={settings.cpus}"],
        additional_parameters={**options_of(settings), **(more or {})},
    )
    try:
        jobs = [executor.submit(call)] if keys is None else executor.map_array(call, keys)
    except subprocess.CalledProcessError as error:
        raise SettingsError(f"Slurm refuses the job {name}: {error}") from error
    return [job.job_id for job in jobs]
