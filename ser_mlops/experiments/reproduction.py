"""Reproduces an experiment from its record alone and says whether every number is equal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ser_mlops.errors import SerError, TrackingError
from ser_mlops.experiments.artifacts import CODE_FILE, ENVIRONMENT_FILE, SETTINGS_FILE
from ser_mlops.experiments.experiment import Experiment, prepare
from ser_mlops.experiments.rounds import conduct
from ser_mlops.settings.reading import parse_settings
from ser_mlops.settings.sections import PathsSettings
from ser_mlops.tracking.names import STUDY_TAG
from ser_mlops.tracking.provenance import changed_files, code_hash, code_listing, commit_tags, environment_text, machine_tags
from ser_mlops.tracking.store import (
    MlflowClient,
    Run,
    child_key,
    children_of,
    find_run,
    metric_points,
    open_store,
    parent_id_of,
    read_artifact,
)

UNCOMPARED = ("seconds", "system/")
"""Metrics that time, not training, decides: names, or parts of names up to a slash."""


class NotReproducible(SerError):
    """The code, the data or the environment is not that of the run."""


@dataclass(frozen=True)
class Check:
    """What was verified of a run's record before it is rerun."""

    differences: list[str]
    """What makes equal numbers impossible, or a coincidence."""
    notes: list[str]
    """What differs but cannot matter."""
    threads: int
    """How many computed the rounds, and will again: how sums are split depends on it."""


def reproduce(run_id: str, *, paths: PathsSettings, force: bool) -> int:
    """Verify a finished experiment's record, rerun it as a new run linked to it, and compare every metric bit for bit.

    Returns the exit code: 0 where all are equal, else 1.

    Raises:
        NotReproducible: the code, the data or the environment differs, and `force` is off.
    """
    client = open_store()
    run = find_run(client, run_id)
    experiment, check = verify(client, run, paths)
    for note in check.notes:
        print(f"note: {note}")
    if check.differences and not force:
        raise NotReproducible(f"run {run_id} cannot be reproduced here: {'; '.join(check.differences)} (force=true reruns it anyway)")
    for difference in check.differences:
        print(f"differs: {difference}")
    torch.set_num_threads(check.threads)
    again_id = conduct(experiment, {"reproduces": run.info.run_id})
    if not again_id:  # under torchrun the first process alone records
        return 0
    again = find_run(client, again_id)
    unequal = first_difference(client, run, again)
    verdict = "equal: every metric, bit for bit" if unequal is None else f"differs: {unequal}"
    client.set_tag(again.info.run_id, "reproduction", verdict)
    print(f"reproduction of {run_id} as {again.info.run_id}: {verdict}")
    return 0 if unequal is None else 1


def verify(client: MlflowClient, run: Run, paths: PathsSettings) -> tuple[Experiment, Check]:
    """Rebuild the experiment of a run, with checkpoints and caches under other `paths`, and compare commit, code, data and packages.

    Raises:
        TrackingError: the run is no finished experiment.
        DataError: a frame is missing or stale.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if parent_id := parent_id_of(run):
        raise TrackingError(f"run {run_id} is one round of experiment {parent_id}: reproduce that experiment")
    if STUDY_TAG in tags:
        raise TrackingError(f"run {run_id} is a sweep, expected an experiment: run the same sweep under another name (study) instead")
    if run.info.status != "FINISHED" or "code" not in tags:
        raise TrackingError(f"run {run_id} is {run.info.status} and may not be an experiment, expected a FINISHED parent run of rounds")
    settings = parse_settings(_read(client, run, SETTINGS_FILE), f"settings.yaml of run {run_id}", is_resolved=True)
    # with the user's tags it would be a row of their tables
    alone: dict[str, object] = {"resume": None, "register": None, "register_as": "best", "tags": {}}
    train = settings.train.model_copy(update=alone)
    settings = settings.model_copy(update={"train": train, "paths": paths})
    experiment = prepare(settings)
    differences, notes = [], []
    now = commit_tags()
    if tags["code"] != code_hash():
        changes = " with changes" if tags["dirty"] == "true" else ""
        files = ", ".join(changed_files(_read(client, run, CODE_FILE), code_listing()))
        differences.append(f"the code is not that of the run (commit {tags['commit'][:12]}{changes}): {files} of ser_mlops")
    elif tags["commit"] != now["commit"]:
        notes.append(f"commit was {tags['commit'][:12]}, is {now['commit'][:12]}; the code that numbers depend on is the same")
    if now["dirty"] == "true" and tags["code"] == code_hash():
        notes.append("the tree has uncommitted changes, on which no number depends")
    for corpus, version in experiment.versions.items():
        if tags.get(f"dvc.{corpus}") != version.frame_md5:
            differences.append(f"frame of {corpus} was {tags.get(f'dvc.{corpus}')}, is {version.frame_md5}")
    then, here = _packages(_read(client, run, ENVIRONMENT_FILE)), _packages(environment_text())
    for name in sorted(then.keys() | here.keys()):
        if then.get(name) != here.get(name):
            differences.append(f"{name} was {then.get(name, 'not installed')}, is {here.get(name, 'not installed')}")
    here = machine_tags()
    machines = _machines_of(client, run, here)
    for name, advice in (("gpu", ""), ("processes", " (torchrun --nproc-per-node N -m pipelines.reproduce)")):
        if machines[name] != [here[name]]:
            differences.append(f"{name} of a round: {' or '.join(machines[name])}, here {here[name]}{advice}")
    if len(machines["threads"]) > 1:
        differences.append(f"rounds were computed in {' or '.join(machines['threads'])} threads")
    elif machines["threads"] != [here["threads"]]:
        notes.append(f"computed in as many threads as the run was ({machines['threads'][0]}), instead of {here['threads']}")
    return experiment, Check(differences, notes, max(map(int, machines["threads"])))


def _machines_of(client: MlflowClient, run: Run, here: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what computed the rounds of an experiment, every value once; what its runs do not record is assumed to be as it is here."""
    rounds = [child.data.tags for child in children_of(client, run)]
    return {name: sorted({tags.get(name, here[name]) for tags in rounds}) for name in ("gpu", "processes", "threads")}


def _read(client: MlflowClient, run: Run, name: str) -> str:
    return read_artifact(client, run.info.run_id, name).read_text(encoding="utf-8")


def _packages(text: str) -> dict[str, str]:
    return {name: version for name, _, version in (line.partition("==") for line in text.splitlines() if "==" in line)}


def first_difference(client: MlflowClient, run: Run, again: Run) -> str | None:
    """Return the first metric, in the order of runs and names, that is not equal at every step; None where all are."""
    for where, then, now in _paired(client, run, again):
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                return f"{where}: {name} was {then.get(name)}, is {now.get(name)}"
    return None


def _paired(client: MlflowClient, run: Run, again: Run) -> Iterator[tuple[str, Mapping[str, list[float]], Mapping[str, list[float]]]]:
    """Yield (which run, its metrics, those of its reproduction): the children by key, then the parents."""
    repeated = {child_key(child): child for child in children_of(client, again)}
    for child in children_of(client, run):
        if child_key(child) not in repeated:
            yield child_key(child), {"run": [1.0]}, {}
        else:
            yield child_key(child), _numbers(client, child), _numbers(client, repeated[child_key(child)])
    yield "summary", _numbers(client, run), _numbers(client, again)


def _numbers(client: MlflowClient, run: Run) -> dict[str, list[float]]:
    """Return the values of every compared metric by step."""
    points = metric_points(client, run)
    return {name: values for name, values in points.items() if not name.startswith(UNCOMPARED)}
