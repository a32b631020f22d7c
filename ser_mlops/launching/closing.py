"""Closes an experiment whose rounds other processes run.

MLflow alone says which rounds have ended: a process that has sent its last record checks, under a lock, whether any round is still
open, and if none is, closes the parent run. Two that finish at once take turns, so exactly one of them does.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from filelock import FileLock

from ser_mlops.errors import Interrupted, SerError, TrackingError, TrainingError
from ser_mlops.experiments.experiment import prepare
from ser_mlops.experiments.rounds import closing_text, conduct_rounds, plan_runs
from ser_mlops.files import remove, write_text
from ser_mlops.launching.handover import Handover
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.recovery import RELAYED, recover
from ser_mlops.tracking.relay import take_back_runs
from ser_mlops.tracking.store import OPEN_STATUSES, Run, child_key, children_of, end_run, find_run, note_of, open_store
from ser_mlops.training.distributed import World
from ser_mlops.training.stopping import raising_interrupted

TABLE_FILE = "table.txt"
"""What is printed at the end, by whichever process closed the experiment."""
ALONE = World(0, 1, torch.device("cpu"))


def close_abandoned(handover: Handover, end_of: Callable[[str | None], tuple[str, str]]) -> None:
    """End the runs that dead processes have left open, and close the experiment.

    `end_of` returns status and reason of the end of a round; given None, of a sweep.
    """
    client = open_store()
    recover(client, handover.outboxes, handover.parent)
    if handover.is_relayed:
        take_back_runs(client, handover.folder)
    if handover.is_sweep:
        _close_sweep(handover, end_of)
    else:
        for key, run_id in handover.runs.items():
            if find_run(client, run_id).info.status in OPEN_STATUSES:
                end_run(client, run_id, *end_of(key))
        close_if_complete(handover)
    if handover.is_relayed:
        remove(handover.folder / RELAYED)


def _close_sweep(handover: Handover, end_of: Callable[[str | None], tuple[str, str]]) -> None:
    if handover.is_relayed:
        from ser_mlops.launching.sweep_worker import record_sweep  # imports Optuna, which no training needs

        record_sweep(handover)
    client = open_store()
    parent = find_run(client, handover.parent)
    if parent.info.status in OPEN_STATUSES:
        for run in children_of(client, parent):
            if run.info.status in OPEN_STATUSES:
                end_run(client, run.info.run_id, "KILLED", "Its sweep has ended.")
        end_run(client, handover.parent, *end_of(None))


def close_if_complete(handover: Handover) -> None:
    """Close an experiment none of whose rounds is open any more: with the summary of all, or saying which are not finished."""
    client = open_store()
    with raising_interrupted(), FileLock(handover.folder / "closing.lock"):
        parent = find_run(client, handover.parent)
        children = children_of(client, parent)
        unfinished = [run for run in children if run.info.status != "FINISHED"]
        is_closed = parent.info.status == "FINISHED" or (parent.info.status not in OPEN_STATUSES and bool(unfinished))
        if is_closed or any(run.info.status in OPEN_STATUSES for run in children):
            return
        with suppress(TrainingError, Interrupted):  # which the parent run now describes
            _close(handover, unfinished, len(children))


def _close(handover: Handover, unfinished: Sequence[Run], num_rounds: int) -> None:
    experiment = prepare(handover.settings)
    with open_notebook(
        name=experiment.run_name,
        tags={},
        planned=() if unfinished else plan_runs(experiment),
        folder=handover.outboxes,
        resume=handover.parent,
    ) as notebook:
        if unfinished:
            raise _failure(handover, unfinished, num_rounds)
        table = conduct_rounds(experiment, notebook, handover.folder, ALONE)
    write_text(handover.folder / TABLE_FILE, closing_text(experiment, notebook, table) + "\n")


def _failure(handover: Handover, unfinished: Sequence[Run], num_rounds: int) -> SerError:
    failed = [run for run in unfinished if run.info.status == "FAILED"]
    if not failed:
        return Interrupted(f"{len(unfinished)} of {num_rounds} rounds were stopped")
    reasons = "; ".join(f"{child_key(run)}: {note_of(run).removeprefix('Failed: ')}" for run in failed)
    return TrainingError(f"{len(failed)} of {num_rounds} rounds failed: {reasons} (resume={handover.parent} runs what is not finished)")


def read_table(handover: Handover) -> str:
    """Return what the process printed that closed an experiment."""
    table = handover.folder / TABLE_FILE
    if not table.is_file():  # the process that closed the experiment could not register its best round, and has said why
        raise TrackingError(
            f"all rounds of run {handover.parent} are finished, but no {table} was written: resume={handover.parent} tries again"
        )
    return table.read_text(encoding="utf-8")
