"""The jobs of an experiment on a Slurm cluster: an array with one job per round, after the one that fills the caches.

submitit writes the batch scripts and pickles what they call (`jobs`). What becomes of a job is asked of Slurm's queue, as `sacct` is not
there on every cluster; what becomes of its round stands in MLflow.
"""

import math
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor

from ser_mlops.errors import SettingsError
from ser_mlops.launching.jobs import Close, Fill, show_job
from ser_mlops.settings import SlurmSettings

JOBS_FOLDER = "jobs"
"""Under the experiment's checkpoints: batch scripts and logs."""
RESTARTS = 10**6
"""submitit counts how often a job ran into its time limit; ours may as often as they like, for each time they get on."""
POLL_S = 0.5, 10.0
"""Seconds between looks at the queue: at first, and at most."""
CLOSING = {"cpus": 1, "memory": "4G", "gpus": 0, "nodes": 1}
"""What the job takes that closes an experiment after its last round."""


def options_of(settings: SlurmSettings) -> dict[str, Any]:
    """Return the options of sbatch that a job is asked for with; True where one has no value.

    >>> from ser_mlops.settings import read_settings
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
    """Word options for a command line."""
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


@dataclass(frozen=True)
class Jobs:
    """The jobs of an order."""

    folder: Path
    array: str
    """Id of the array, or of the job where there is but one round."""
    caches: str | None
    """Id of the job that fills the caches, if there is one."""
    keys: Sequence[str]

    @property
    def ids(self) -> dict[str, str]:
        if len(self.keys) == 1:
            return {self.keys[0]: self.array}
        return {key: f"{self.array}_{i}" for i, key in enumerate(self.keys)}

    @property
    def all_ids(self) -> list[str]:
        return [self.array, *([self.caches] if self.caches else [])]

    @property
    def told(self) -> str:
        after = f", after job {self.caches} that fills the caches" if self.caches else ""
        array = f" (array of {len(self.keys)})" if len(self.keys) > 1 else ""
        return f"queued: job {self.array}{array}{after}; logs in {self.folder / JOBS_FOLDER}"

    def tags(self, name: str) -> dict[str, str]:
        """Return what the parent run is tagged with."""
        return {"mlflow.runName": f"{name} job {self.array}", "job": " ".join(self.all_ids), "log": str(self.folder / JOBS_FOLDER)}

    def step(self) -> int:
        time.sleep(POLL_S[0])
        waiting = queued([self.array])
        return len(self.keys) - len(waiting & set(self.ids.values()))

    def cancel(self) -> None:
        subprocess.run(["scancel", *self.all_ids], capture_output=True, check=False)
        while queued(self.all_ids):
            time.sleep(POLL_S[0])

    def end_of(self, key: str | None) -> tuple[str, str]:
        if key is None:
            ends = [self.end_of(each) for each in self.keys]
            return next((end for end in ends if "COMPLETED" not in end[1]), ends[0])
        if self.caches:
            state = show_job(self.caches).get("JobState", "COMPLETED")
            if state == "CANCELLED":
                return "KILLED", f"Interrupted: job {self.caches}, which was to fill the caches, was cancelled"
            if state != "COMPLETED":
                log = self.folder / JOBS_FOLDER / f"{self.caches}_0_log.out"
                return "FAILED", f"Failed: the caches could not be filled, job {self.caches} is {state} ({log})"
        job = self.ids[key]
        known = show_job(job)
        if not known:
            return "FAILED", f"Failed: job {job} ended without a word"
        state, node, code = known["JobState"], known.get("NodeList"), known.get("ExitCode")
        if state == "CANCELLED":
            return "KILLED", f"Interrupted: job {job} was cancelled"
        return "FAILED", f"Failed: job {job} is {state} on {node} ({known.get('Reason')}, exit code {code})"


def queued(jobs: Iterable[str]) -> set[str]:
    """Return the ids, 12_0 or 12, of those jobs that wait, run, or are about to end; of arrays, one each."""
    command = ["squeue", "--noheader", "--array", f"--jobs={','.join(jobs)}", "--format=%i"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode and "Invalid job id" not in ended.stderr:
        raise ConnectionError(ended.stderr.strip())
    return set(ended.stdout.split())


def submit(folder: Path, call: Any, keys: Sequence[str], settings: SlurmSettings, *, fills: bool, closes: bool) -> Jobs:
    """Queue a call with each key, as an array; before it the job that fills the caches, if there is one, and with `closes` one after it.

    Raises:
        SettingsError: Slurm refuses a job. What was queued before it is cancelled.
    """
    jobs: list[str] = []
    try:
        if fills:
            alone = settings.model_copy(update={"nodes": 1, "gpus": min(1, settings.gpus)})
            jobs += _queue(folder, alone, Fill(folder), "caches")
        after = {"dependency": f"afterok:{jobs[0]}", "kill-on-invalid-dep": "yes"} if jobs else {}
        array = _queue(folder, settings, call, "array", keys, after)[0].partition("_")[0]
        jobs.append(array)
        if closes:
            small = settings.model_copy(update=CLOSING)
            close = Close(folder, array, jobs[0] if fills else None, tuple(keys))
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
    executor = SlurmExecutor(folder / JOBS_FOLDER, max_num_timeout=RESTARTS)
    executor.update_parameters(
        job_name=f"ser-{name}",
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
