"""A sweep as Slurm jobs: what each of them does, and how the sweep is handed over and closed where they reach no tracking store.

Jobs that reach a store lead and help as processes anywhere do. Without one, the command that queues them opens the runs of all trials, the
first job leads and trains the best settings, and whoever has the store records the study once all of them have ended.
"""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from ser_mlops.errors import Interrupted, TrainingError
from ser_mlops.experiments.disk import keep_models
from ser_mlops.experiments.experiment import prepare, round_key
from ser_mlops.experiments.round_task import RoundTask
from ser_mlops.experiments.rounds import conduct_round, open_inputs, plan_runs, states_folder
from ser_mlops.experiments.study import UNFINISHED, Study, TrialState
from ser_mlops.experiments.study_storage import needing_storage
from ser_mlops.experiments.sweep import Sweep, prepare_sweep
from ser_mlops.experiments.sweep_recording import best_values
from ser_mlops.experiments.trials import write_trials
from ser_mlops.files import remove
from ser_mlops.launching.handover import Handover
from ser_mlops.launching.sweep_job import (
    BEST,
    complete_sweep,
    conduct_sweep,
    open_sweep,
    plan_trials,
    run_until_done,
    share_runs,
    showing_progress,
    trial_key,
)
from ser_mlops.tracking.names import STUDY_TAG
from ser_mlops.tracking.notebook import Notebook
from ser_mlops.tracking.provenance import machine_tags
from ser_mlops.tracking.relay import RelayedWriter
from ser_mlops.tracking.store import find_run, open_store
from ser_mlops.training.distributed import join_world
from ser_mlops.training.stopping import raising_interrupted


def schedule_runs(sweep: Sweep, study: Study, notebook: Notebook) -> dict[str, str]:
    """Open the runs of a sweep whose jobs reach no store; return the ids of those that they have to write, by key."""
    study.add_trials(sweep.settings.trials, sweep.defaults())
    planned = [*plan_runs(sweep.experiment, BEST), *plan_trials(sweep, study)]
    runs = notebook.schedule(planned)
    share_runs(study, notebook.parent.run_id, {key: run_id for key, run_id in runs.items() if not key.startswith(BEST)})
    left = {trial_key(trial.number) for trial in study.trials(*UNFINISHED)}
    return notebook.schedule_unfinished([plan for plan in planned if plan.key.startswith(BEST) or plan.key in left], reopened=left)


def run_worker(folder: Path) -> None:
    """Run trials of a sweep as one of several Slurm jobs: whichever is first leads the study."""
    handover = Handover.read(folder)
    settings = handover.settings
    settings = settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"workers": 1})})
    sweep = prepare_sweep(prepare(settings, reads_store=not handover.is_relayed), settings.sweep)
    if handover.is_relayed:
        _work_without_store(handover, sweep)
    else:
        conduct_sweep(sweep)


def _work_without_store(handover: Handover, sweep: Sweep) -> None:
    study = sweep.study()
    writer = RelayedWriter(handover.folder, handover.parent, {STUDY_TAG: study.name})
    with raising_interrupted(), needing_storage(study.name), study.workers.heartbeat():
        if not study.workers.claim_lead():
            write_trials(sweep, study, writer)
            return
        try:
            with showing_progress(study):
                run_until_done(study, lambda: write_trials(sweep, study, writer))
            _test_best(handover, sweep, study, writer)
        finally:
            study.workers.resign()


def _test_best(handover: Handover, sweep: Sweep, study: Study, writer: RelayedWriter) -> None:
    """Train and test the rounds of the best settings that no earlier job has finished."""
    if not study.trials(TrialState.COMPLETE):
        return  # which the end of the sweep says
    study.workers.share(tested=True)
    experiment = sweep.with_values(best_values(sweep, study))
    features = open_inputs(experiment, experiment.trainings, join_world())
    for training, number in experiment.rounds:
        run_id = handover.runs.get(BEST + round_key(training, number))
        if run_id is None:
            continue
        states = states_folder(sweep.checkpoints / handover.parent, training, number)
        with writer.unfinished_child(run_id) as run:
            if run is not None:
                run.tags(machine_tags())
                conduct_round(RoundTask(experiment, training, number, states, features, join_world()), run)
        remove(states)


def record_sweep(handover: Handover) -> None:
    """Record a sweep whose jobs reach no store, once they have brought it to its end; nothing is done where they have not.

    All that they wrote is in the store.
    """
    client, settings = open_store(), handover.settings
    sweep = prepare_sweep(prepare(settings), settings.sweep)
    study = sweep.study()
    with raising_interrupted(), FileLock(handover.folder / "closing.lock"):
        runs = [find_run(client, run_id) for key, run_id in handover.runs.items() if key.startswith(BEST)]
        is_tested = all(run.info.status == "FINISHED" for run in runs) or not study.trials(TrialState.COMPLETE)
        if study.trials(*UNFINISHED) or not is_tested or find_run(client, handover.parent).info.status == "FINISHED":
            return
        with suppress(TrainingError, Interrupted):  # which the parent run now describes
            with open_sweep(sweep, study) as notebook:
                complete_sweep(sweep, study, notebook)
            remove(sweep.checkpoints / handover.parent)
            if settings.train.keep != "all":
                print(keep_models(handover.parent, settings.train.keep))
