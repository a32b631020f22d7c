"""What a process does that was handed a round: train and record it, or fill the caches before all rounds."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_mlops.errors import Interrupted, Postponed
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.experiments.rounds import conduct_round, open_inputs, states_folder, train_round
from ser_mlops.files import remove
from ser_mlops.launching.closing import close_if_complete
from ser_mlops.launching.handover import Handover
from ser_mlops.tracking.notebook import open_child_writer
from ser_mlops.tracking.provenance import machine_tags
from ser_mlops.tracking.relay import RelayedWriter
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import OPEN_STATUSES, find_run, open_store
from ser_mlops.training.distributed import World, join_world, leave_world
from ser_mlops.training.stopping import raising_interrupted


def fill_caches(folder: Path) -> None:
    """Compute the outputs of the frozen part that the rounds of a handover read."""
    handover = Handover.read(folder)
    with raising_interrupted():
        experiment = handover.prepare()
        open_inputs(experiment, experiment.trainings, join_world())


def run_round(folder: Path, key: str, tags: Mapping[str, str], restarts: Callable[[Interrupted], bool] = lambda _: False) -> None:
    """Run and record one round of a handover, and close the experiment if it was the last; under torchrun every process calls this.

    `tags` are set on the round's run. If the process is asked to stop, `restarts` says whether it will be started again: the run then
    waits for that, and Postponed is raised.
    """
    handover = Handover.read(folder)
    world = join_world()
    is_postponed = False
    try:
        with raising_interrupted():
            if world.is_first:
                _record(handover, key, tags, restarts, world)
            elif world.receive():
                train_round(_prepare_round(handover, key, world), None)
    except Postponed:
        is_postponed = True
        raise
    except Interrupted as error:  # before the run was begun, or as it ended
        is_postponed = world.is_first and restarts(error)
        if is_postponed:
            raise Postponed(str(error)) from error
        raise
    finally:
        leave_world()
        if world.is_first and not is_postponed and not handover.is_relayed:
            close_if_complete(handover)


def _record(handover: Handover, key: str, tags: Mapping[str, str], restarts: Callable[[Interrupted], bool], world: World) -> None:
    if handover.is_relayed:
        _record_relayed(handover, key, tags, restarts, world)
        return
    client, run_id = open_store(), handover.runs[key]
    is_open = find_run(client, run_id).info.status != "FINISHED"  # else the process was stopped after it had ended its run
    world.broadcast(is_open)
    if not is_open:
        return
    parent = find_run(client, handover.parent)
    if parent.info.status not in OPEN_STATUSES:  # the rounds of a node that went down were stopped, and Slurm starts them again
        client.update_run(handover.parent, status="RUNNING")
    with open_child_writer(handover.parent, parent.data.tags, handover.outboxes) as writer, writer.child(run_id, is_new=False) as run:
        states = _conduct(handover, key, run, tags, restarts, world)
    remove(states)


def _record_relayed(handover: Handover, key: str, tags: Mapping[str, str], restarts: Callable[[Interrupted], bool], world: World) -> None:
    """Record a round where no store is in reach."""
    states = None
    with RelayedWriter(handover.folder, handover.parent, {}).unfinished_child(handover.runs[key]) as run:
        world.broadcast(run is not None)
        if run is not None:
            states = _conduct(handover, key, run, tags, restarts, world)
    if states is not None:
        remove(states)


def _conduct(
    handover: Handover, key: str, run: RunLog, tags: Mapping[str, str], restarts: Callable[[Interrupted], bool], world: World
) -> Path:
    """Train and record a round; return the folder of its states, which its end makes superfluous."""
    run.tags(machine_tags() | dict(tags))
    try:
        task = _prepare_round(handover, key, world)
        conduct_round(task, run)
    except Interrupted as error:
        if restarts(error):
            raise Postponed(str(error)) from error
        raise
    return task.folder


def _prepare_round(handover: Handover, key: str, world: World) -> RoundTask:
    experiment = handover.prepare()
    training, number = experiment.find_round(key)
    features = open_inputs(experiment, [training], world)
    return RoundTask(experiment, training, number, states_folder(handover.folder, training, number), features, world)
