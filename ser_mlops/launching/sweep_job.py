"""Runs a sweep: the process that leads adds the trials, records the study and tests the best settings; others help with the trials.

A sweep resumes exactly where it stopped: its study says which trials are left. The test set is looked at once, at the end, by the rounds
of the best settings.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from threading import Event, Thread

from ser_mlops.data.progress import progress
from ser_mlops.errors import TrackingError
from ser_mlops.experiments.disk import keep_models
from ser_mlops.experiments.rounds import conduct_rounds, open_inputs, plan_runs
from ser_mlops.experiments.study import UNFINISHED, Study, TrialState
from ser_mlops.experiments.study_storage import needing_storage
from ser_mlops.experiments.study_workers import DEAD_AFTER_S
from ser_mlops.experiments.sweep import Sweep
from ser_mlops.experiments.sweep_recording import describe_sweep, record_end, record_study
from ser_mlops.experiments.trials import run_trials
from ser_mlops.files import remove
from ser_mlops.launching.processes import ProcessPool
from ser_mlops.tracking.notebook import Notebook, Planned, open_notebook
from ser_mlops.tracking.opened_run import put_opened_run_aside
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.training.distributed import join_world
from ser_mlops.training.stopping import raising_interrupted

BEST, TRIAL = "best: ", "trial "
"""Beginnings of the keys of child runs: rounds of the best settings, and trials."""
LOOK_S = 2.0
"""How often the study is asked how many trials are done."""


def conduct_sweep(sweep: Sweep) -> None:
    """Run or resume a sweep; where another process leads it already, help with its trials."""
    study = sweep.study()
    with raising_interrupted(), needing_storage(study.name), study.workers.heartbeat():
        if study.workers.claim_lead():
            try:
                _lead(sweep, study)
            finally:
                study.workers.resign()
        else:
            _help(sweep, study)


def _lead(sweep: Sweep, study: Study) -> None:
    study.add_trials(sweep.settings.trials, sweep.defaults())
    with open_sweep(sweep, study) as notebook:
        if not notebook.is_resumed:
            describe_sweep(notebook.parent, sweep)
        share_runs(study, notebook.parent.run_id, notebook.schedule(plan_trials(sweep, study)))
        print(f"watch in the MLflow UI: {notebook.link}", flush=True)
        with showing_progress(study):
            _run_all(sweep, study)
        notebook.collect()
        text = complete_sweep(sweep, study, notebook)
    remove(sweep.checkpoints / notebook.parent.run_id)
    keep = sweep.experiment.settings.train.keep
    freed = f"{keep_models(notebook.parent.run_id, keep)}\n\n" if keep != "all" else ""
    print(f"{text}\n\n{freed}open in the MLflow UI: {notebook.link}")


def open_sweep(sweep: Sweep, study: Study) -> AbstractContextManager[Notebook]:
    """Open the parent run of a sweep, and the rounds that will test its best settings."""
    return open_notebook(
        name=sweep.run_name,
        tags=sweep.tags_of_parent(),
        planned=plan_runs(sweep.experiment, BEST),
        folder=sweep.checkpoints / OUTBOX,
        resume=study.workers.shared("parent"),
    )


def plan_trials(sweep: Sweep, study: Study) -> list[Planned]:
    """Return the child runs of the trials."""
    return [Planned(trial_key(trial.number), f"trial {trial.number} of {study.name}", sweep.tags()) for trial in study.trials()]


def trial_key(number: int) -> str:
    return f"{TRIAL}{number}"


def share_runs(study: Study, parent_id: str, runs: Mapping[str, str]) -> None:
    """Tell all workers which runs the trials write to; `runs` are their ids by key."""
    study.workers.share(runs={key.removeprefix(TRIAL): run_id for key, run_id in runs.items()}, parent=parent_id)


def complete_sweep(sweep: Sweep, study: Study, notebook: Notebook) -> str:
    """Record the study, whose trials are done, test the best settings, and return what is printed at the end."""
    best = record_study(notebook.parent, sweep, study)
    study.workers.share(tested=True)
    table = conduct_rounds(sweep.with_values(best), notebook, sweep.checkpoints / notebook.parent.run_id, join_world(), BEST)
    return record_end(notebook.parent, sweep, study, best, table)


def _help(sweep: Sweep, study: Study) -> None:
    leader = study.workers.shared("leader")
    print(f"study {study.name}: helping with the trials of {leader.split()[0] if leader else 'a leader that is about to end'}")
    deadline = time.time() + DEAD_AFTER_S
    while study.workers.shared("runs") is None:
        if time.time() > deadline:
            raise TrackingError(f"the leader of study {study.name!r} opened no runs: start the sweep again")
        time.sleep(0.5)
    put_opened_run_aside(str(study.workers.shared("parent")), "helping call")
    if sweep.settings.workers > 1:
        _run_processes(sweep, study, leads=False)
    else:
        run_trials(sweep, study)
    print("no trial is left: the leader completes the sweep")


@contextmanager
def showing_progress(study: Study) -> Iterator[None]:
    """Show meanwhile how many trials are done, whichever process does them."""

    def follow() -> None:
        while not is_over.wait(LOOK_S):
            with suppress(TrackingError), needing_storage(study.name):  # whoever runs trials says that the database is away
                bar.update(study.num_done() - bar.n)

    is_over = Event()
    with progress(len(study.trials()), f"sweep {study.name}", "trial", initial=study.num_done()) as bar:
        follower = Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            is_over.set()
            follower.join()


def _run_all(sweep: Sweep, study: Study) -> None:
    """Run all trials: here, or in processes; then wait for those that helpers have taken."""
    study.requeue_dead()
    if sweep.settings.workers > 1:
        open_inputs(sweep.experiment, sweep.experiment.trainings, join_world())  # filled once, before the workers read it
        _run_processes(sweep, study, leads=True)
    run_until_done(study, partial(run_trials, sweep, study))


def run_until_done(study: Study, run: Callable[[], None]) -> None:
    """Run what waits and wait for what helpers have taken, until all trials are done."""
    while study.trials(*UNFINISHED):
        study.requeue_dead()
        if study.trials(TrialState.WAITING):
            run()
        else:
            time.sleep(0.5)


def _run_processes(sweep: Sweep, study: Study, *, leads: bool) -> None:
    """Run trials in processes of their own. The leader replaces one that dies in a trial, and lets its trial be retried once."""
    pool, call, share = ProcessPool(__name__), partial(_work, sweep), sweep.settings.workers
    names = (f"worker {number}" for number in count())
    try:
        for _ in range(min(share, len(study.trials(*UNFINISHED)))):
            pool.start(next(names), call, share=share)
        while pool.running:
            for code in filter(None, pool.wait().values()):
                reason = f"its worker ended with exit code {code}"
                numbers = study.requeue_dead(reason) if leads else []
                print(f"trial {', '.join(map(str, numbers)) or 'none'}: {reason}")
                if numbers:
                    pool.start(next(names), call, share=share)
    finally:
        pool.stop()


def _work(sweep: Sweep) -> None:
    """Run trials as one of several processes."""
    study = sweep.study()
    with raising_interrupted(), needing_storage(study.name), study.workers.heartbeat():
        run_trials(sweep, study)
