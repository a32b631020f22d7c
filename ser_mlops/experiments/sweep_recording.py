"""What the parent run of a sweep holds: settings, the table and figures of its trials, the best settings and their test scores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from ser_mlops.errors import TrainingError
from ser_mlops.experiments.recording import describe_experiment, draw
from ser_mlops.experiments.study import Study, TrialState
from ser_mlops.experiments.sweep import Sweep, command_for, describe_values
from ser_mlops.scores.figures.sweeps import trial_contour, trial_curves, trial_history, trial_importances, trial_parallel
from ser_mlops.settings.reading import dump_settings
from ser_mlops.settings.search import Range
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import open_store, read_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

END_FILE = "end.txt"
MAX_TABLE_CHARACTERS = 4000
"""Of the trials in the description of the parent, which MLflow limits; trials.csv holds all."""


def describe_sweep(parent: RunLog, sweep: Sweep) -> None:
    """Log what a sweep is made of."""
    describe_experiment(parent, sweep.experiment.settings, sweep.experiment.versions)
    parent.params({f"sweep.{name}": value for name, value in sweep.settings.model_dump().items()})


def record_end(parent: RunLog, sweep: Sweep, study: Study, best: dict[str, Any], table: str) -> str:
    """Log and return what is printed at the end: the trials, then how the best settings did (`table`), and how to train with them."""
    trials = study.table().drop(columns="failures").to_string(index=False)
    text = f"{trials}\n\nthe best settings, tested:\n{table}\n\nto train with the best settings:\n  {command_for(sweep, best)}"
    parent.text(END_FILE, text + "\n")
    lasting = study.table().drop(columns=["failures", "seconds"]).to_string(index=False)
    note = f" — **{sweep.experiment.note}, proves nothing**" if sweep.experiment.note else ""
    headline = f"**best of {len(study.trials())} trials: {describe_values(best)}**{note}"
    parent.describe(f"{headline}\n\n```\n{lasting[:MAX_TABLE_CHARACTERS]}\n```\n\nThe best settings, tested:\n\n```\n{table}\n```")
    return text


def read_end(parent_id: str) -> str:
    """Return what a finished sweep printed: its trials, its best settings and how they did on the test set."""
    return read_artifact(open_store(), parent_id, END_FILE).read_text(encoding="utf-8")


def record_study(run: RunLog, sweep: Sweep, study: Study) -> dict[str, Any]:
    """Log the table of trials, the figures and the best settings; return these."""
    table = study.table()
    complete = table[table["state"] == "COMPLETE"]
    if complete.empty:
        reasons = dict.fromkeys(table["failures"].where(table["failures"] != "", table["state"]))
        raise TrainingError(f"no trial of study {study.name!r} is complete: {'; '.join(reasons)}")
    trial = study.best()
    assert trial.value is not None
    best = sweep.defaults() | trial.params
    run.text("trials.csv", table.to_csv(index=False))
    run.text("best.yaml", dump_settings(sweep.with_values(best).settings))
    run.text("best_command.txt", command_for(sweep, best) + "\n")
    run.metrics({f"{sweep.value_name}_of_trial": trial.value, "best_trial": trial.number})
    run.tags({f"best.{name}": value for name, value in best.items()})
    draw(run, _study_figures(sweep, study, complete))
    return best


def _study_figures(sweep: Sweep, study: Study, complete: pd.DataFrame) -> "Iterator[tuple[str, Figure]]":
    metric, note, title = f"validation {sweep.metric}", sweep.experiment.note, f"sweep {sweep.experiment.name}"
    ranges = {name: spread for name, spread in sweep.settings.space.items() if isinstance(spread, Range)}
    numeric, log = list(ranges), [name for name, spread in ranges.items() if spread.log]
    yield "history", trial_history(complete, metric, title, note)
    pruned = [trial.number for trial in study.trials() if trial.state == TrialState.PRUNED]
    yield "intermediate_values", trial_curves(study.reports(), metric, title, note, pruned)
    if len(complete) < 3:
        return
    if len(numeric) >= 2 and complete["value"].nunique() > 1:
        yield "contour", trial_contour(complete, numeric[0], numeric[1], log, metric, title, note)
    if numeric:
        yield "parallel", trial_parallel(complete, numeric, log, metric, title, note)
    if complete["value"].nunique() > 1:
        yield "importances", trial_importances(study.importances(), title, note)
