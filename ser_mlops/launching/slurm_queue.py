"""The jobs of an experiment in Slurm's queue.

The queue is asked because not every cluster has `sacct`; how a round ended is recorded in MLflow.
"""

import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

JOBS_FOLDER = "jobs"
"""Under the experiment's checkpoints: batch scripts and logs."""
PARTS = ("caches", "array", "closing")
"""What the jobs of an experiment are for: filling the caches, the rounds or the workers, closing the experiment."""
POLL_S = 0.5, 10.0
"""Seconds between looks at the queue: at first, and at most."""
CONTROLLER_PATIENCE_S = 60.0
"""Half of what a warned job has by default (slurm.grace)."""


@dataclass
class Jobs:
    """The jobs of a handover."""

    folder: Path
    array: str
    """Id of the array, or of the job where there is but one round."""
    caches: str | None
    """Id of the job that fills the caches, if there is one."""
    keys: Sequence[str]
    _pause_s: float = POLL_S[0]

    @property
    def ids(self) -> dict[str, str]:
        if len(self.keys) == 1:
            return {self.keys[0]: self.array}
        return {key: f"{self.array}_{i}" for i, key in enumerate(self.keys)}

    @property
    def all_ids(self) -> list[str]:
        return [self.array, *([self.caches] if self.caches else [])]

    @property
    def summary(self) -> str:
        after = f", after job {self.caches} that fills the caches" if self.caches else ""
        array = f" (array of {len(self.keys)})" if len(self.keys) > 1 else ""
        return f"queued: job {self.array}{array}{after}; logs in {self.folder / JOBS_FOLDER}"

    @property
    def tags(self) -> dict[str, str]:
        """What the parent run is tagged with."""
        return {"job": " ".join(self.all_ids), "log": str(self.folder / JOBS_FOLDER)}

    def step(self) -> int:
        time.sleep(self._pause_s)
        self._pause_s = min(1.2 * self._pause_s, POLL_S[1])
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
                return "KILLED", f"Interrupted: job {self.caches}, which fills the caches, was cancelled"
            if state != "COMPLETED":
                log = self.folder / JOBS_FOLDER / f"{self.caches}_0_log.out"
                return "FAILED", f"Failed: the caches could not be filled, job {self.caches} is {state} ({log})"
        job = self.ids[key]
        known = show_job(job)
        if not known and not (self.folder / JOBS_FOLDER / f"{job}_0_log.out").exists():  # Slurm forgets jobs of an array that never began
            return "KILLED", f"Interrupted: job {job} was cancelled while it waited"
        if not known:
            return "FAILED", f"Failed: job {job} died without reporting"
        state, node, code = known["JobState"], known.get("NodeList"), known.get("ExitCode")
        if state == "CANCELLED":
            return "KILLED", f"Interrupted: job {job} was cancelled"
        return "FAILED", f"Failed: job {job} is {state} on {node} ({known.get('Reason')}, exit code {code})"


def job_name(folder: Path, part: str) -> str:
    """Return the name of an experiment's jobs, given its folder: they are found by it even if the command that queued them has died."""
    return f"ser-{part}-{folder.name}"


def queued(jobs: Iterable[str]) -> set[str]:
    """Return the ids, 12_0 or 12, of those jobs that wait, run, or are about to end; of arrays, one each."""
    return set(_ask_queue(f"--jobs={','.join(jobs)}"))


def queued_for(folder: Path) -> dict[str, str]:
    """Return the jobs of an experiment that wait, run, or are about to end: what each is for, by its id."""
    parts = {job_name(folder, part): part for part in PARTS}
    return {job: parts[name] for job, name in _ask_queue(f"--name={','.join(parts)}").items()}


def _ask_queue(which: str) -> dict[str, str]:
    """Return the names of queued jobs by id; a controller that does not answer is asked again until it does."""
    command = ["squeue", "--noheader", "--array", which, "--format=%i %j"]
    while True:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode == 0 or "Invalid job id" in ended.stderr:
            return dict(line.split() for line in ended.stdout.splitlines())
        time.sleep(POLL_S[1])


def show_job(job: str) -> Mapping[str, str]:
    """Return what Slurm's controller knows of a job; nothing once it has forgotten it."""
    return dict(re.findall(r"(\w+)=(\S*)", ask_controller("show", "job", "--oneliner", job).stdout))


def ask_controller(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run scontrol; a controller that is busy or restarting is asked again for a while, but not about a job that it does not know."""
    deadline = time.monotonic() + CONTROLLER_PATIENCE_S
    while True:
        ended = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
        if ended.returncode == 0 or "Invalid job id" in ended.stderr or time.monotonic() > deadline:
            return ended
        time.sleep(POLL_S[0])
