"""What other processes are told of an experiment, and what each of them does: fill the caches, run one round, close what is over.

An order is a file (`order.json`) in the experiment's folder of checkpoints, so that a process needs a path and the name of its round,
wherever it starts. Which rounds are over stands in MLflow and nowhere else: a process that has sent its last record looks, under a lock,
whether any round is still open, and if none is, closes the parent run. Two that finish at once take turns, so exactly one of them does.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from ser_mlops.errors import Interrupted, Postponed, SerError, TrainingError
from ser_mlops.experiments.plan import Training
from ser_mlops.experiments.rounds import (
    Experiment,
    checkpoints_of,
    conduct_round,
    conduct_rounds,
    key_of,
    open_frozen,
    pairs_of,
    plan_runs,
    prepare,
    refuse_changed,
    tell_end,
    train_round,
)
from ser_mlops.experiments.sweep import conduct_sweep, prepare_sweep
from ser_mlops.files import remove, write_text
from ser_mlops.settings.reading import dump_settings, parse_settings, with_train
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.notebook import open_child_writer, open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import machine_tags
from ser_mlops.tracking.recovery import recover
from ser_mlops.tracking.store import OPEN_STATUSES, STUDY_TAG, Run, children_of, end_run, find_run, note_of, open_store
from ser_mlops.tracking.store import child_key as key_of_run
from ser_mlops.training.distributed import World, join_world, leave_world
from ser_mlops.training.features import Features
from ser_mlops.training.stopping import raising_interrupted

ORDER_FILE = "order.json"
TABLE_FILE = "table.txt"
"""What is printed at the end, by whichever process closed the experiment."""
ALONE = World(0, 1, torch.device("cpu"))


@dataclass(frozen=True)
class Order:
    """Rounds of an experiment to be run by processes that have not prepared it."""

    folder: Path
    """Of the experiment's checkpoints; absolute."""
    settings: Settings
    parent: str
    runs: Mapping[str, str]
    """Run id by key, of the rounds to be run; none for a sweep, whose study knows its trials."""

    def save(self) -> None:
        settings = with_train(self.settings, {"resume": None}, "resume")  # else each process would read the parent's own settings again
        content = {"parent": self.parent, "runs": dict(self.runs), "settings": dump_settings(settings)}
        write_text(self.folder / ORDER_FILE, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Order":
        content = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
        settings = parse_settings(content["settings"], str(folder / ORDER_FILE))
        return cls(folder, settings, content["parent"], content["runs"])

    @property
    def outboxes(self) -> Path:
        return self.folder.parent / OUTBOX

    def prepare(self) -> Experiment:
        """Prepare the experiment anew, and refuse code or data that are not those that it was started with."""
        experiment = prepare(self.settings)
        refuse_changed(experiment, self.parent)
        return experiment


def needs_filling(experiment: Experiment) -> bool:
    """Say whether the rounds of an experiment read outputs of the frozen part, which are computed once and before them."""
    train = experiment.settings.train
    return train.cache != "off" and train.attention_mask and not experiment.cache_objection()


def fill(folder: Path) -> None:
    """Compute the outputs of the frozen part that the rounds of an order read."""
    order = Order.read(folder)
    with raising_interrupted():
        experiment = order.prepare()
        open_frozen(experiment, experiment.trainings, join_world())


def run_round(folder: Path, key: str, tags: Mapping[str, str], goes_on: Callable[[Interrupted], bool] = lambda _: False) -> None:
    """Run and record one round of an order, and close the experiment if it was the last; under torchrun every process calls this.

    `tags` are set on the round's run. If the process is asked to stop, `goes_on` says whether it will be started again: the run then
    waits for that, and Postponed is raised.
    """
    order = Order.read(folder)
    world = join_world()
    is_postponed = False
    try:
        with raising_interrupted():
            if world.is_first:
                _record(order, key, tags, goes_on, world)
            elif world.hear():
                experiment = order.prepare()
                train_round(experiment, *_pair_of(experiment, key), order.folder, _open_caches(experiment, key, world), None, world)
    except Postponed:
        is_postponed = True
        raise
    except Interrupted as error:  # before the run was begun, or as it ended
        is_postponed = world.is_first and goes_on(error)
        if is_postponed:
            raise Postponed(str(error)) from error
        raise
    finally:
        leave_world()
        if world.is_first and not is_postponed:
            close_if_over(order)


def run_trials(folder: Path) -> None:
    """Run trials of a sweep until none is left; whoever is first leads the study and closes it."""
    settings = Order.read(folder).settings
    settings = settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"workers": 1})})
    conduct_sweep(prepare_sweep(prepare(settings), settings.sweep))


def _record(order: Order, key: str, tags: Mapping[str, str], goes_on: Callable[[Interrupted], bool], world: World) -> None:
    client, run_id = open_store(), order.runs[key]
    is_open = find_run(client, run_id).info.status != "FINISHED"  # else the process was stopped after it had ended its run
    world.tell(is_open)
    if not is_open:
        return
    parent = find_run(client, order.parent)
    if parent.info.status not in OPEN_STATUSES:  # the rounds of a node that went down were stopped, and Slurm starts them again
        client.update_run(order.parent, status="RUNNING")
    with open_child_writer(order.parent, parent.data.tags, order.outboxes) as writer, writer.child(run_id, is_new=False) as run:
        run.tags(machine_tags() | dict(tags))
        try:
            experiment = order.prepare()
            training, round = _pair_of(experiment, key)
            conduct_round(experiment, training, round, order.folder, _open_caches(experiment, key, world), run, world)
        except Interrupted as error:
            if goes_on(error):
                raise Postponed(str(error)) from error
            raise
    remove(checkpoints_of(order.folder, training, round))


def _pair_of(experiment: Experiment, key: str) -> tuple[Training, int]:
    return next(pair for pair in pairs_of(experiment) if key_of(*pair) == key)


def _open_caches(experiment: Experiment, key: str, world: World) -> Features | None:
    return open_frozen(experiment, [_pair_of(experiment, key)[0]], world)


def settle(order: Order, end_of: Callable[[str | None], tuple[str, str]]) -> None:
    """End what processes that are gone have left open, and close the experiment.

    `end_of` says with which status and reason a round ended; given None, a sweep.
    """
    client = open_store()
    recover(client, order.outboxes, order.parent)
    for key, run_id in order.runs.items():
        if find_run(client, run_id).info.status in OPEN_STATUSES:
            end_run(client, run_id, *end_of(key))
    parent = find_run(client, order.parent)
    if STUDY_TAG not in parent.data.tags:
        close_if_over(order)
    elif parent.info.status in OPEN_STATUSES:
        for run in children_of(client, parent):
            if run.info.status in OPEN_STATUSES:
                end_run(client, run.info.run_id, "KILLED", "Its sweep has ended.")
        end_run(client, order.parent, *end_of(None))


def close_if_over(order: Order) -> None:
    """Close an experiment none of whose rounds is open any more: with the summary of all, or saying which are not finished."""
    client = open_store()
    with raising_interrupted(), FileLock(order.folder / "closing.lock"):
        parent = find_run(client, order.parent)
        children = children_of(client, parent)
        unfinished = [run for run in children if run.info.status != "FINISHED"]
        is_closed = parent.info.status == "FINISHED" or (parent.info.status not in OPEN_STATUSES and bool(unfinished))
        if is_closed or any(run.info.status in OPEN_STATUSES for run in children):
            return
        with suppress(TrainingError, Interrupted):  # which the parent run now tells
            _close(order, unfinished, len(children))


def _close(order: Order, unfinished: list[Run], num_rounds: int) -> None:
    experiment = prepare(order.settings)
    with open_notebook(
        name=experiment.name, tags={}, planned=() if unfinished else plan_runs(experiment), folder=order.outboxes, resume=order.parent
    ) as notebook:
        if unfinished:
            raise _failure(order, unfinished, num_rounds)
        table = conduct_rounds(experiment, notebook, order.folder, ALONE)
    write_text(order.folder / TABLE_FILE, tell_end(experiment, notebook, table) + "\n")


def _failure(order: Order, unfinished: list[Run], num_rounds: int) -> SerError:
    failed = [run for run in unfinished if run.info.status == "FAILED"]
    if not failed:
        return Interrupted(f"{len(unfinished)} of {num_rounds} rounds were stopped")
    reasons = "; ".join(f"{key_of_run(run)}: {note_of(run).removeprefix('Failed: ')}" for run in failed)
    return TrainingError(f"{len(failed)} of {num_rounds} rounds failed: {reasons} (resume={order.parent} runs what is not finished)")
