"""Experiments, their rounds and their predictions as DataFrames, and experiments compared, as a notebook asks for them; logs nothing."""

from collections.abc import Sequence

import pandas as pd

from ser_mlops.errors import TrackingError
from ser_mlops.experiments.comparison import ComparedRuns, compare_runs, parse_tag, tested_rounds
from ser_mlops.scores.predictions import emotions_of
from ser_mlops.settings.reading import read_settings
from ser_mlops.tracking.names import TITLE_TAG, UAR_TAG, VALIDATION_TAG
from ser_mlops.tracking.store import Run, children_of, find_run, open_store, parents_of

FACTS = ("name", TITLE_TAG, "kind", "status", "started", "ended")
"""The first columns of a table of runs."""
IN_WORDS = (UAR_TAG, VALIDATION_TAG)
"""Tags that repeat scores, rounded, for MLflow's lists."""
WORDS = {"True": True, "False": False, "None": None}


def runs(kind: str | None = None, *, tag: str | None = None) -> pd.DataFrame:
    """Return one row per experiment in the store, the newest first; of a `kind` (indep, sweep, compare, …), with a `tag` (KEY=VALUE).

    Without `kind` these are all commands that train. Indexed by run_id (str), with the columns

    - name, title (what it is, in words), kind, status (FINISHED, RUNNING, FAILED, …): str; started, ended (NaT while it runs): UTC times,
    - its tags: str, among them model, data (real or synthetic), emotions, commit, and your own,
    - its settings (train.lr, audio.min_seconds, …): numbers and booleans as such, missing where it has none, otherwise str,
    - its scores (test/uar_mean, test/uar_sd, test/uar_ci_low, …; test/CREMA/uar_mean, … of several test sets): float64.

    Raises:
        StoreError: the store cannot be opened.
        SettingsError: the tag is not KEY=VALUE.
    """
    found = [run for run in parents_of(open_store()) if ("code" in run.data.tags if kind is None else run.data.tags.get("kind") == kind)]
    if tag is not None:
        key, value = parse_tag(tag)
        found = [run for run in found if run.data.tags.get(key) == value]
    return _table(found[::-1])


def rounds(run_id: str) -> pd.DataFrame:
    """Return one row per round of an experiment (per trial of a sweep), in the order in which they were planned.

    Indexed and with columns as in `runs`; the tags say what a round is (train_datasets, test_dataset, fold), `round` is its number, and
    the scores are its own: test/uar, best/val_uar, best_epoch, the last value of curves (train/loss).

    Raises:
        TrackingError: there is no such run, or it has no rounds.
    """
    client = open_store()
    children = children_of(client, find_run(client, run_id))
    if not children:
        raise TrackingError(f"run {run_id} has no rounds, expected the id of an experiment (a parent run)")
    table = _table(children)
    return table.assign(round=table["round"].astype("int64")) if "round" in table else table


def _table(found: Sequence[Run]) -> pd.DataFrame:
    rows = [_row(run) for run in found]
    columns = dict.fromkeys([*FACTS, *(name for row in rows for name in row["tags"]), *(name for row in rows for name in row["settings"])])
    columns |= dict.fromkeys(name for row in rows for name in row["scores"])
    index = pd.Index([run.info.run_id for run in found], name="run_id", dtype="str")
    return pd.DataFrame([row["tags"] | row["settings"] | row["scores"] | row["facts"] for row in rows], index=index, columns=[*columns])


def _row(run: Run) -> dict[str, dict[str, object]]:
    """Return what is known of a run by kind of column."""
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.") and name not in (*FACTS, *IN_WORDS)}
    facts = {"name": run.info.run_name, TITLE_TAG: run.data.tags.get(TITLE_TAG, run.info.run_name), "kind": run.data.tags.get("kind")}
    facts |= {"status": run.info.status, "started": _time(run.info.start_time), "ended": _time(run.info.end_time)}
    return {
        "facts": facts,
        "tags": dict(tags),
        "settings": {name: _value(text) for name, text in run.data.params.items() if "." in name},  # without one: as `-P` gave it
        "scores": {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")},
    }


def _time(milliseconds: int | None) -> pd.Timestamp:
    """Return a time of MLflow's; NaT where there is none."""
    return pd.to_datetime(milliseconds, unit="ms", utc=True)


def _value(text: str) -> object:
    """Return the value of a setting, which MLflow keeps as text.

    >>> [_value(text) for text in ("3", "1e-05", "True", "None", "encoder:4", "('SAVEE', 'TESS')")]
    [3, 1e-05, True, None, 'encoder:4', "('SAVEE', 'TESS')"]
    """
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return WORDS.get(text, text)


def predictions(run_id: str) -> pd.DataFrame:
    """Return every answer of an experiment, or of one round of it: one row per clip and round (a grid: per clip, round and cell).

    Columns: run_id (str, of the round), round (int64), test_set (str); path, corpus, speaker, gender, language (str), as in frames; labels
    (int64) and emotion (category), the true class by number and by name; predicted (category); a logit per class (logit_happy, …: float32
    of networks, float64 of the baseline); votes_… where listeners voted.

    Raises:
        TrackingError: there is no such run, or no round of it is finished.
    """
    client = open_store()
    tested = tested_rounds(client, find_run(client, run_id))
    every = pd.concat(
        [table.assign(run_id=tester, round=number, test_set=test) for number in sorted(tested) for tester, test, table in tested[number]],
        ignore_index=True,
    )
    emotions = [*emotions_of(every)]
    by_name = every["labels"].map(dict(enumerate(emotions)))
    every.insert(every.columns.get_loc("labels") + 1, "emotion", pd.Categorical(by_name, categories=emotions))
    every["predicted"] = pd.Categorical(every["predicted"], categories=emotions)
    first = ["run_id", "round", "test_set"]
    return every[[*first, *(column for column in every.columns if column not in first)]]


def compare(*run_ids: str, tag: str | None = None, seed: int | None = None, resamples: int | None = None) -> ComparedRuns:
    """Compare two or more finished experiments as the entry point `compare` does, without logging anything.

    Args:
        run_ids: the first is the baseline.
        tag: KEY=VALUE; finished experiments with this tag come after those named, the oldest first.
        seed: of the permutations; by default that of `compare` in params.yaml.
        resamples: permutations, where there are more ways to swap; by default likewise.

    Returns:
        The tables `scores`, `rounds`, `differences`, `groups`, `group_differences` and `gaps`, `notes`, and `page`, which says it in words.

    Raises:
        SettingsError: there are fewer than two, or they tell different emotions apart.
        TrackingError: one is not there, not finished, or a grid.
        DataError: fewer than two clips were tested by all of them, or one has another label there.
    """
    chosen = read_settings().compare
    return compare_runs(run_ids, tag, chosen.seed if seed is None else seed, chosen.resamples if resamples is None else resamples)
