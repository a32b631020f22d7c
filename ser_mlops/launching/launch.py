"""Runs the rounds of an experiment where its settings say: in this process, in several of this machine, or as jobs of a Slurm cluster."""

from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from ser_mlops.errors import Interrupted, SettingsError, TrainingError
from ser_mlops.laboratory import OUTBOX, Experiment, conduct, plan_runs
from ser_mlops.launching import slurm
from ser_mlops.launching.orders import TABLE_FILE, Order, close_if_over, needs_filling, settle
from ser_mlops.launching.pool import Pool
from ser_mlops.launching.preflight import check_cluster
from ser_mlops.notes import describe_experiment
from ser_mlops.tracking import end_run, find_run, note_of, open_notebook, open_store
from ser_mlops.training.distributed import join_world
from ser_mlops.training.stopping import raising_interrupted


class Workers(Protocol):
    """Processes that run the rounds of an order, here or elsewhere."""

    def step(self) -> int:
        """Wait a little; return how many rounds have no process any more and will get none."""

    def cancel(self) -> None:
        """Ask all of them to stop, and wait until they have."""

    def end_of(self, key: str) -> tuple[str, str]:
        """Return status and reason for a round whose process left its run open."""


def check_launch(experiment: Experiment) -> None:
    """Refuse, before anything is queued or recorded, what cannot work.

    Raises:
        SettingsError, TrackingError, ModelError: settings that do not go together, or a cluster that lacks something.
    """
    launch = experiment.settings.launch
    if launch.launcher == "slurm":
        if launch.parallel != 1:
            raise SettingsError(f"parallel={launch.parallel} goes with launcher=local; with launcher=slurm set at_once")
        check_cluster(experiment, len(experiment.trainings) * experiment.settings.train.rounds)
    elif launch.detach:
        raise SettingsError("detach=true goes with launcher=slurm: the processes of launcher=local end with the command")
    elif launch.parallel != 1 and join_world().size > 1:
        raise SettingsError(f"parallel={launch.parallel} does not go with torchrun, whose processes train one round together")


def launch(experiment: Experiment) -> None:
    """Run every training and round that is not finished yet, record them, and print the table of rounds.

    With `detach`, return when the jobs are queued.
    """
    chosen = experiment.settings.launch
    if chosen.launcher == "local" and chosen.parallel == 1:
        conduct(experiment)
        return
    with raising_interrupted():
        order, workers = _begin(experiment)
        if chosen.detach:
            return
        try:
            _watch(experiment, order, workers)
        except Interrupted:
            workers.cancel()
            raise
        finally:
            settle(order, workers.end_of)
            close_if_over(order)
    _tell(order)


def _begin(experiment: Experiment) -> tuple[Order, Workers]:
    """Open the parent run and its children, and hand the rounds over."""
    settings = experiment.settings
    checkpoints = Path(settings.paths.checkpoints)
    with open_notebook(
        name=experiment.name,
        tags=experiment.tags(),
        planned=(),
        folder=checkpoints / OUTBOX,
        resume=settings.train.resume,
        stays_open=True,
        is_detached=settings.launch.detach,
    ) as notebook:
        parent = notebook.parent
        if not notebook.is_resumed:
            describe_experiment(parent, settings, experiment.versions)
        runs = notebook.schedule_unfinished(plan_runs(experiment))
        order = Order((checkpoints / parent.run_id).resolve(), settings, parent.run_id, runs)
        order.save()
        try:
            if settings.launch.launcher == "local":
                return order, Pool(order, settings.launch.parallel, needs_filling(experiment))
            jobs = slurm.submit(order, settings.slurm, fills=needs_filling(experiment), closes=settings.launch.detach)
        except BaseException as error:
            for run_id in runs.values():
                end_run(notebook.client, run_id, "KILLED", f"Never started: {error}")
            raise
        parent.tags(jobs.tags(experiment.name))
        for key, run_id in runs.items():
            notebook.client.set_tag(run_id, "job", jobs.ids[key])
    print(f"{jobs.told}\nopen in the MLflow UI: {notebook.link}")
    return order, jobs


def _watch(experiment: Experiment, order: Order, workers: Workers) -> None:
    with tqdm(total=len(order.runs), desc=experiment.name, unit="round", disable=None) as bar:
        num_over = 0
        while num_over < len(order.runs):
            num_before, num_over = num_over, workers.step()
            bar.update(num_over - num_before)


def _tell(order: Order) -> None:
    """Print how the experiment ended, whoever closed it."""
    parent = find_run(open_store(), order.parent)
    if parent.info.status == "FINISHED":
        print((order.folder / TABLE_FILE).read_text(encoding="utf-8"), end="")
    elif parent.info.status == "FAILED":
        raise TrainingError(note_of(parent).removeprefix("Failed: "))
    else:
        raise Interrupted(note_of(parent))
