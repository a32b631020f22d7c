"""What a Slurm job of ours runs, and how it requeues itself.

Imports nothing heavy: until a training has begun, the warning signal is handled by submitit, which sets its handler once this module is
loaded. From then on our own handlers let the training save its state, and the job requeues itself with `scontrol requeue`. A job that
is being cancelled does not.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_mlops.errors import Interrupted, Postponed, TrainingError
from ser_mlops.launching.slurm_queue import Jobs, ask_controller, show_job

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

PORTS = 20000, 12000
"""First port and number of ports for the processes of one round to meet on: job ids are spread over them."""


@dataclass(frozen=True)
class CachesJob:
    """A job that fills the caches that the rounds of a handover read."""

    folder: Path

    def __call__(self) -> None:
        from ser_mlops.launching.round_job import fill_caches

        try:
            fill_caches(self.folder)
        except Interrupted:
            if not is_running():
                raise
            requeue()

    def checkpoint(self) -> "DelayedSubmission":
        return _again(self)


@dataclass(frozen=True)
class RoundJob:
    """A job that runs one round of a handover, with so many processes on each of its nodes."""

    folder: Path
    processes_per_node: int
    num_nodes: int

    def __call__(self, key: str) -> None:
        if self.processes_per_node * self.num_nodes > 1:
            run_torchrun(self.processes_per_node, self.num_nodes, "ser_mlops.launching.slurm_jobs", str(self.folder), key)
        else:
            run_key(self.folder, key)

    def checkpoint(self, key: str) -> "DelayedSubmission":
        return _again(self, key)


@dataclass(frozen=True)
class WorkerJob:
    """A job that runs trials of a sweep until none is left; the first of an array leads, the others help."""

    folder: Path

    def __call__(self, _name: str) -> None:
        from ser_mlops.launching.sweep_worker import run_worker

        try:
            run_worker(self.folder)
        except Interrupted:
            if not is_running():
                raise
            requeue()

    def checkpoint(self, name: str) -> "DelayedSubmission":
        return _again(self, name)


@dataclass(frozen=True)
class ClosingJob:
    """The job after all others: ends the runs that their jobs left open and closes the experiment, unless the last round has."""

    folder: Path
    array: str
    caches: str | None
    keys: Sequence[str]

    def __call__(self) -> None:
        from ser_mlops.launching.closing import close_abandoned
        from ser_mlops.launching.handover import Handover

        close_abandoned(Handover.read(self.folder), Jobs(self.folder, self.array, self.caches, self.keys).end_of)

    def checkpoint(self) -> "DelayedSubmission":
        return _again(self)


def _again(call: Callable[..., None], *arguments: str) -> "DelayedSubmission":
    """Return what submitit requeues for a job that was warned before its training began."""
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(call, *arguments)


def run_key(folder: Path, key: str) -> None:
    """Run one round in this process, or, under torchrun, together with the others; requeued if the job is warned."""
    from submitit import JobEnvironment

    from ser_mlops.launching.round_job import run_round

    try:
        run_round(folder, key, {"log": os.environ.get("SER_LOG") or str(JobEnvironment().paths.stdout)}, restarts)
    except Postponed as postponed:
        requeue(f"{postponed}; ")


def restarts(error: Interrupted) -> bool:
    """Say whether Slurm will start a round again that was asked to stop.

    Under torchrun a SIGTERM may come from torchrun, because another process failed.
    """
    is_peer_failure = "WORLD_SIZE" in os.environ and str(error).startswith("SIGTERM")
    return is_running() and not is_peer_failure


def is_running() -> bool:
    """Say whether this job counts as running with Slurm: a warned or preempted one does, a cancelled one does not."""
    return show_job(os.environ["SLURM_JOB_ID"]).get("JobState") == "RUNNING"


def requeue(reason: str = "") -> None:
    """Requeue this job. Slurm ends the processes of the job; `reason` is printed before."""
    job = os.environ["SLURM_JOB_ID"]
    print(f"{reason}job {job} is requeued", flush=True)
    ended = ask_controller("requeue", job)
    if ended.returncode:
        raise TrainingError(f"job {job} cannot be requeued: {ended.stderr.strip()}")
    sys.exit(1)


def run_torchrun(processes_per_node: int, num_nodes: int, module: str, *arguments: str) -> None:
    """Run a module under torchrun on this node; srun starts this on every node of the job.

    torchrun ignores the warning signal, which Slurm sends to every process of the job: its processes handle it.
    """
    from submitit import JobEnvironment

    environment = JobEnvironment()
    first, number = PORTS
    meeting = (
        ["--standalone"]
        if num_nodes == 1
        else [
            f"--nnodes={num_nodes}",
            f"--node-rank={environment.node}",
            f"--master-addr={environment.hostnames[0]}",
            f"--master-port={first + int(os.environ['SLURM_JOB_ID']) % number}",
        ]
    )
    command = [sys.executable, "-m", "torch.distributed.run", *meeting, f"--nproc-per-node={processes_per_node}", "-m", module, *arguments]
    print(" ".join(command), flush=True)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # inherited by torchrun and, until they set their own, by its processes
    ended = subprocess.run(command, env={**os.environ, "SER_LOG": str(environment.paths.stdout)}, check=False)
    if ended.returncode:
        raise TrainingError(f"torchrun ended with exit code {ended.returncode}")


def main() -> None:
    """Run one round as a process of torchrun."""
    from ser_mlops.commands import run_command

    folder, key = sys.argv[1:]
    run_command(lambda: run_key(Path(folder), key))


if __name__ == "__main__":
    main()
