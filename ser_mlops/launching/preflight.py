"""Checks a cluster before anything is queued: one line says what is missing and what to do about it."""

import importlib.util
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from filelock import FileLock

from ser_mlops.errors import SettingsError, TrackingError, TrainingError, one_of
from ser_mlops.experiments.experiment import Experiment
from ser_mlops.files import remove, write_text
from ser_mlops.launching.slurm_queue import JOBS_FOLDER, queued_for
from ser_mlops.launching.slurm_submit import as_flags, minutes_of, options_of
from ser_mlops.models.build import load_classifier
from ser_mlops.models.location import locate
from ser_mlops.settings.jobs import SlurmSettings
from ser_mlops.settings.sections import Settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.tracking.relay import is_embedded
from ser_mlops.tracking.store import tracking_uri
from ser_mlops.training.features import FrozenPart
from ser_mlops.training.filling import Source, look_ahead
from ser_mlops.training.vectors import VectorSource

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
GUIDE = "docs/cluster.md"


def check_slurm(experiment: Experiment, num_jobs: int) -> bool:
    """Check what so many jobs of an experiment need on a cluster; return whether caches are to be filled before them."""
    where = experiment.settings.launch
    if where.parallel != 1:
        raise SettingsError(f"parallel={where.parallel} needs launcher=local; with launcher=slurm set at_once")
    check_cluster(experiment.settings, num_jobs)
    return reads_caches(experiment) and check_caches(experiment)


def refuse_detaching(settings: Settings) -> None:
    """Refuse to detach from processes of this machine."""
    if settings.launch.detach:
        raise SettingsError("detach=true needs launcher=slurm: the processes of launcher=local end with the command")


def check_cluster(settings: Settings, num_jobs: int) -> None:
    """Refuse a cluster, a tracking store or settings of Slurm that would let jobs fail later.

    Raises:
        SettingsError: no Slurm, an unknown partition, what Slurm refuses, a folder that nodes cannot see, jobs that are still queued.
        TrackingError: a tracking store that is neither a server nor a file.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise SettingsError(f"launcher=slurm: no {', '.join(missing)} on the path, expected a login node of a Slurm cluster ({GUIDE})")
    if importlib.util.find_spec("submitit") is None:
        raise SettingsError("launcher=slurm needs submitit: pip install -e .[slurm]")
    if not is_embedded():
        _check_store(tracking_uri())
    _check_partition(settings.slurm)
    _check_options(settings.slurm, num_jobs)
    if settings.train.resume:
        refuse_queued(Path(settings.paths.checkpoints) / settings.train.resume)
    if settings.slurm.probe:
        _check_node(settings)


def reads_caches(experiment: Experiment) -> bool:
    """Say whether the rounds of an experiment read outputs of the frozen part, which are computed once and before them."""
    train = experiment.settings.train
    if experiment.is_baseline:
        return True
    return train.cache != "off" and train.attention_mask and not experiment.cache_objection()


def check_caches(experiment: Experiment) -> bool:
    """Return whether caches must be filled; refuse those that do not fit on their disk, which every job would find out by itself."""
    train, slurm = experiment.settings.train, experiment.settings.slurm
    corpora = {corpus: version.audio for corpus, version in experiment.versions.items()}
    is_needed = experiment.is_baseline or train.feature_norm != "none"
    source: Source
    if experiment.is_baseline:
        source = VectorSource(experiment.settings.baseline.features)
    else:
        classifier = load_classifier(
            train.model, seed=train.seed, emotions=train.space.classes, layers=train.layers, attention_mask=train.attention_mask
        )
        source = FrozenPart(
            classifier, train.freeze, train.cache_precision, torch.device("cuda" if slurm.gpus else "cpu"), may_round=not is_needed
        )
    absent, obstacle = look_ahead(source, corpora, Path(experiment.settings.paths.cache))
    if obstacle:
        without = "; cache=off: every job computes the frozen part in every epoch"
        raise TrainingError(f"launcher=slurm: {obstacle}{'' if is_needed else without}")
    return bool(absent)


def _check_store(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        raise TrackingError(
            f"launcher=slurm: the tracking store is {uri}, but jobs write to a server, or to none: start `mlflow server` and set "
            f"MLFLOW_TRACKING_URI=http://HOST:PORT, or keep a file, sqlite:///mlflow.db, which only this machine opens ({GUIDE})"
        )


def _check_partition(settings: SlurmSettings) -> None:
    ended = _run(["sinfo", "--noheader", "--format=%P|%l"])
    if ended.returncode:
        raise SettingsError(f"launcher=slurm: the cluster does not answer ({_last_line(ended.stderr)})")
    limits = dict(line.split("|") for line in ended.stdout.split())
    known = {name.removesuffix("*"): limit for name, limit in limits.items()}
    default = next((name.removesuffix("*") for name in limits if name.endswith("*")), None)
    if settings.partition is not None and settings.partition not in known:
        raise SettingsError(f"{one_of('partition', settings.partition, known)} (slurm.partition in params.yaml)")
    limit = known.get(settings.partition or default or "", "infinite")
    if limit[0].isdigit() and minutes_of(settings.time) > minutes_of(limit):  # such a job would wait for ever
        name = settings.partition or default
        raise SettingsError(f"time={settings.time} is longer than partition {name} allows, expected {limit} or less")


def _check_options(settings: SlurmSettings, num_jobs: int) -> None:
    if settings.grace >= 60 * minutes_of(settings.time):
        raise SettingsError(
            f"grace={settings.grace} leaves no time to train within time={settings.time}, expected fewer seconds or a longer limit"
        )
    flags = as_flags({**options_of(settings), "array": f"0-{num_jobs - 1}%{settings.at_once}", "output": "/dev/null"})
    ended = _run(["sbatch", "--test-only", *flags, "--wrap=true"])
    if ended.returncode:
        raise SettingsError(f"launcher=slurm: Slurm refuses these settings ({_last_line(ended.stderr)}): {' '.join(flags)}")


def refuse_queued(folder: Path) -> None:
    """Refuse to resume an experiment, given its folder, that has jobs in Slurm's queue; where there is no Slurm there are none."""
    if shutil.which("squeue") is None or not (folder / JOBS_FOLDER).is_dir():
        return
    if left := sorted(queued_for(folder)):
        arrays = sorted({job.partition("_")[0] for job in left})
        run_id = folder.name.partition("-")[0]
        raise SettingsError(f"jobs {', '.join(left)} of run {run_id} are still in the queue: wait for them, or scancel {' '.join(arrays)}")


def _check_node(settings: Settings) -> None:
    """Check on a node what it must see: this folder, the shared ones with their locks, the model's files, a tracking server."""
    folders = {f"paths.{name}": Path(path).resolve() for name, path in settings.paths.model_dump().items()}
    model = None if settings.train.model == BASELINE else locate(settings.train.model)
    token = secrets.token_hex(8)
    tokens = {name: folder / f".seen-by-a-node-{token}" for name, folder in folders.items()}
    try:
        for name, path in tokens.items():
            try:
                write_text(path, token)
            except OSError as error:
                raise SettingsError(f"{name}={path.parent} cannot be written to ({error.strerror})") from error
        with FileLock(tokens["paths.checkpoints"].with_suffix(".lock")) as lock:
            checks = {
                "token": token,
                "tokens": {name: str(path) for name, path in tokens.items()},
                "lock": lock.lock_file,
                "files": [str(path) for path in sorted(model.iterdir())] if model else [],
                "server": None if is_embedded() else tracking_uri(),
            }
            _probe(settings.slurm, checks)
    finally:
        for path in tokens.values():
            if path.parent.is_dir():
                remove(path)
                remove(path.with_suffix(".lock"))


def _probe(settings: SlurmSettings, checks: Mapping[str, object]) -> None:
    options = options_of(settings.model_copy(update={"nodes": 1, "cpus": 1, "time": "1", "gpus": min(1, settings.gpus)}))
    options = {name: value for name, value in options.items() if name not in ("requeue", "ntasks-per-node")}
    flags = as_flags({**options, "ntasks": 1, "immediate": settings.probe, "job-name": "ser-probe"})
    ended = _run(["srun", "--quiet", *flags, sys.executable, "-m", "ser_mlops.launching.node_probe", json.dumps(checks)])
    complaints = [line.removeprefix("complaint: ") for line in ended.stdout.splitlines() if line.startswith("complaint: ")]
    if complaints:
        raise SettingsError(f"launcher=slurm: {'; '.join(complaints)} ({GUIDE})")
    if ended.returncode and "Unable to allocate" in ended.stderr:
        print(f"note: no node was free within {settings.probe} s (slurm.probe), so whether nodes see the shared folders is unchecked")
    elif ended.returncode:
        raise SettingsError(f"launcher=slurm: {sys.executable} does not run in {Path.cwd()} on a node ({_last_line(ended.stderr)})")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
