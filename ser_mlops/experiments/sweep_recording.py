"""What the parent run of a sweep holds: settings, the table and figures of its trials, the best settings and their test scores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from ser_mlops.errors import TrainingError
from ser_mlops.experiments.descriptions import aligned
from ser_mlops.experiments.recording import describe_experiment, draw
from ser_mlops.experiments.study import Study, TrialState
from ser_mlops.experiments.sweep import Sweep, command_for, describe_values
from ser_mlops.scores.metrics import LOWER_IS_BETTER
from ser_mlops.settings.reading import dump_settings
from ser_mlops.settings.search import Range
from ser_mlops.tracking.runlog import MAX_TAG_CHARACTERS, RunLog
from ser_mlops.tracking.store import open_store, read_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

END_FILE = "end.txt"


def describe_sweep(parent: RunLog, sweep: Sweep) -> None:
    """Log what a sweep is made of."""
    describe_experiment(parent, sweep.experiment.settings, sweep.experiment.versions)
    parent.params({f"sweep.{name}": value for name, value in sweep.settings.model_dump().items()})


def record_end(parent: RunLog, sweep: Sweep, study: Study, best: dict[str, Any], table: str) -> str:
    """Log and return what is printed at the end: the trials, then how the best settings did (`table`), and how to train with them.

    The run's description says the same, beginning with the best settings, and has the best trials first.
    """
    command = command_for(sweep, best)
    trials = f"value: validation {sweep.metric}, its mean over rounds\n{_format_trials(study)}"
    text = f"{trials}\n\nthe best settings, tested:\n{table}\n\nto train with the best settings:\n  {command}"
    parent.text(END_FILE, text + "\n")
    note = f" — **{sweep.experiment.note}, proves nothing**" if sweep.experiment.note else ""
    value = f"validation {sweep.metric} {study.best().value:.3f}"
    emotions = f"\n\n{sweep.experiment.emotions_note}" if sweep.experiment.emotions_note else ""
    head = f"**best of {len(study.trials())} trials: {describe_values(best)}** ({value}){note}{emotions}\n\n"
    tail = f"\nThe best settings, tested:\n\n```\n{table}\n```\n\nTo train with them:\n\n```\n{command}\n```\n"
    parent.describe(head + aligned(_ranked_trials(study, sweep.metric), MAX_TAG_CHARACTERS - len(head) - len(tail), "in trials.csv") + tail)
    return text


def _format_trials(study: Study) -> str:
    table = study.table().drop(columns="failures")
    return table.to_string(index=False, formatters={"value": "{:.4f}".format}, float_format=lambda value: f"{value:.4g}")


def _ranked_trials(study: Study, metric: str) -> list[list[str]]:
    """Return the rows of a table of trials: the best first, those without a value last."""
    table = study.table().drop(columns=["failures", "seconds"])
    shown = table["value"].map("{:.4f}".format).where(table["value"].notna(), "")
    table = table.sort_values(["value", "number"], ascending=[metric in LOWER_IS_BETTER, True]).assign(value=shown)
    cells = table.rename(columns={"value": f"validation {metric}"}).map(
        lambda cell: (f"{cell:.4g}" if pd.notna(cell) else "") if isinstance(cell, float) else str(cell)
    )
    return [["trial", *cells.columns[1:]], *cells.to_numpy().tolist()]


def read_end(parent_id: str) -> str:
    """Return what a finished sweep printed: its trials, its best settings and how they did on the test set."""
    return read_artifact(open_store(), parent_id, END_FILE).read_text(encoding="utf-8")


def best_values(sweep: Sweep, study: Study) -> dict[str, Any]:
    """Return the settings of the best trial; one must be complete."""
    return sweep.defaults() | study.best().params


def record_study(run: RunLog, sweep: Sweep, study: Study) -> dict[str, Any]:
    """Log the table of trials, the figures and the best settings; return these."""
    table = study.table()
    complete = table[table["state"] == "COMPLETE"]
    if complete.empty:
        reasons = dict.fromkeys(table["failures"].where(table["failures"] != "", table["state"]))
        raise TrainingError(f"no trial of study {study.name!r} is complete: {'; '.join(reasons)}")
    trial = study.best()
    assert trial.value is not None
    best = best_values(sweep, study)
    run.text("trials.csv", table.to_csv(index=False))
    run.text("best.yaml", dump_settings(sweep.with_values(best).settings))
    run.text("best_command.txt", command_for(sweep, best) + "\n")
    run.metrics({f"{sweep.value_name}_of_trial": trial.value, "best_trial": trial.number})
    run.tags({f"best.{name}": value for name, value in best.items()})
    draw(run, _study_figures(sweep, study, complete), sweep.experiment.settings.drawing.figures)
    return best


def _study_figures(sweep: Sweep, study: Study, complete: pd.DataFrame) -> "Iterator[tuple[str, Figure]]":
    from ser_mlops.scores.figures.sweeps import trial_contour, trial_curves, trial_history, trial_importances, trial_parallel

    metric, note, title = f"validation {sweep.metric}", sweep.experiment.note, f"sweep {sweep.experiment.title}"
    ranges = {name: spread for name, spread in sweep.settings.space.items() if isinstance(spread, Range)}
    numeric, log = list(ranges), [name for name, spread in ranges.items() if spread.log]
    yield "history", trial_history(complete, metric, title, note)
    yield "intermediate_values", trial_curves(_curves(study), _step_in_words(sweep), metric, title, note)
    if len(complete) < 3:
        return
    if len(numeric) >= 2 and complete["value"].nunique() > 1:
        yield "contour", trial_contour(complete, numeric[0], numeric[1], log, metric, title, note)
    if numeric:
        yield "parallel", trial_parallel(complete, numeric, log, metric, title, note)
    if complete["value"].nunique() > 1:
        yield "importances", trial_importances(study.importances(), title, note)


def _curves(study: Study) -> pd.DataFrame:
    """Return the reports of trials that are complete or pruned; one that failed ends at a value that is none."""
    pruned = {trial.number: trial.state == TrialState.PRUNED for trial in study.trials(TrialState.COMPLETE, TrialState.PRUNED)}
    reports = study.reports()
    reports = reports[reports["number"].isin(list(pruned))]
    return reports.assign(is_pruned=reports["number"].map(pruned).astype(bool))


def _step_in_words(sweep: Sweep) -> str:
    """Say what the reports of a trial follow."""
    if sweep.settings.pruner == "wilcoxon":
        return "round"
    return "epoch" if sweep.experiment.settings.train.rounds == 1 else "epoch, the rounds one after another"
