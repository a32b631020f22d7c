"""The settings that say where trainings run; no number depends on them. See `sections`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ser_mlops.settings.kinds import SLURM_TIME, Names, OptionalName, Section, split_commas


class LaunchSettings(Section):
    launcher: Literal["local", "slurm"]
    """Where trainings (main) and workers (sweep) run: local, this machine; slurm, one job each (docs/cluster.md)."""
    parallel: Annotated[int, Field(ge=1)] | Literal["auto"]
    """With launcher=local: trainings side by side, or `auto`: as many as the GPUs' memory (without GPU: the cores) holds."""
    detach: bool
    """With launcher=slurm: return once the jobs are queued; the job that finishes last closes the experiment."""


class SlurmSettings(Section):
    partition: OptionalName
    """Slurm: partition of the jobs; none: the cluster's default."""
    account: OptionalName
    """Slurm: account that the jobs are charged to; none: the user's default."""
    time: Annotated[str, Field(pattern=SLURM_TIME)]
    """Slurm: time limit of a job, [D-]HH:MM:SS; a training that needs longer is requeued and resumes."""
    cpus: Annotated[int, Field(ge=1)]
    """Slurm: CPU cores per node."""
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")]
    """Slurm: memory per node, such as 32G."""
    gpus: Annotated[int, Field(ge=0)]
    """Slurm: GPUs per node; with several, torchrun trains one round on all of them."""
    nodes: Annotated[int, Field(ge=1)]
    """Slurm: nodes per job; with several, torchrun trains one round on all of them."""
    at_once: Annotated[int, Field(ge=1)]
    """Slurm: jobs of one command that may run at the same time."""
    grace: Annotated[int, Field(ge=10)]
    """Slurm: seconds before its time limit at which a job is warned, to save its state."""
    probe: Annotated[int, Field(ge=0)]
    """Slurm: seconds to wait for a node that shows, before anything is queued, that it sees the shared folders; 0: not checked."""
    setup: Names
    """Slurm: shell lines that a job runs first, such as `module load cuda`."""
    extra: Annotated[tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z-]*(=.*)?$")], ...], BeforeValidator(split_commas)]
    """Slurm: further options of sbatch, such as --constraint=a100."""
