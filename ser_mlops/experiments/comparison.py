"""Compares finished experiments by their runs: prediction tables out of MLflow, the comparison into a run of its own."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ser_mlops.data.progress import progress
from ser_mlops.emotions import Space
from ser_mlops.errors import SettingsError, TrackingError
from ser_mlops.scores.comparison import Comparison, compare
from ser_mlops.scores.comparison_page import comparison_page
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import commit_tags, machine_tags
from ser_mlops.tracking.store import (
    PREDICTIONS_FOLDER,
    MlflowClient,
    Run,
    children_of,
    find_run,
    open_store,
    parent_id_of,
    parents_tagged,
    read_artifact,
    space_of,
)

NAME_CHARACTERS = 60
TRAINED_BY = ("train", "baseline")
"""Sections whose settings tell experiments of one name apart."""
DIVIDED_BY = ("train.seed", "frames.seed", "frames.split", "frames.test_ratio", "train.validation_share")
"""Settings that decide which clips are trained on, validated on and tested."""


def choose_runs(client: MlflowClient, run_ids: Sequence[str], tag: str | None, fewest: int = 2) -> list[Run]:
    """Return the experiments that are asked for: those named, then those with the tag (KEY=VALUE), oldest first.

    Raises:
        SettingsError: fewer than there must be.
        TrackingError: there is no such run, or it is not finished.
    """
    runs = [find_run(client, run_id) for run_id in run_ids]
    unfinished = next((run for run in runs if run.info.status != "FINISHED"), None)
    if unfinished is not None:
        raise TrackingError(f"run {unfinished.info.run_id} is {unfinished.info.status}, expected finished experiments")
    if tag is not None:
        key, value = parse_tag(tag)
        named = {run.info.run_id for run in runs}
        runs += [run for run in parents_tagged(client, key, value) if run.info.run_id not in named]
    if len(runs) < fewest:
        needed = "compare takes two or more experiments" if fewest > 1 else "one or more finished experiments are needed"
        raise SettingsError(f"{needed}, got {len(runs)}: runs=ID,ID or tag=KEY=VALUE")
    return runs


def parse_tag(tag: str) -> tuple[str, str]:
    """Return the key and the value of KEY=VALUE.

    Raises:
        SettingsError: it is something else.
    """
    key, equals, value = tag.partition("=")
    if not equals:
        raise SettingsError(f"tag={tag} is not accepted, expected KEY=VALUE")
    return key, value


def read_rounds(client: MlflowClient, run: Run) -> list[pd.DataFrame]:
    """Return an experiment's prediction tables, one per round, over all its folds and test sets; a clip counts as it was tested first.

    Raises:
        TrackingError: no round is finished, or the experiment is a grid, whose cells test the same clips.
    """
    rounds = _tested(client, run)
    return [each_clip_once([table for _, _, table in rounds[round]]) for round in sorted(rounds)]


def read_rounds_by_test(client: MlflowClient, run: Run) -> dict[str, list[pd.DataFrame]]:
    """Return an experiment's prediction tables by test set, one per round; errors as in `read_rounds`."""
    rounds = _tested(client, run)
    by_test: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for round in sorted(rounds):
        for test in dict.fromkeys(name for _, name, _ in rounds[round]):
            by_test[test].append(each_clip_once([table for _, name, table in rounds[round] if name == test]))
    return dict(by_test)


def each_clip_once(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of prediction tables, of each clip the first."""
    return pd.concat(tables).drop_duplicates("path", ignore_index=True)


def tables_by_round(client: MlflowClient, runs: Iterable[Run]) -> dict[int, list[tuple[str, str, pd.DataFrame]]]:
    """Return what those runs tested that are finished rounds: by round the id of the run, the test set and the prediction table."""
    rounds: dict[int, list[tuple[str, str, pd.DataFrame]]] = defaultdict(list)
    for run in runs:
        if run.info.status == "FINISHED" and "round" in run.data.tags:
            folder = read_artifact(client, run.info.run_id, PREDICTIONS_FOLDER)
            rounds[int(run.data.tags["round"])] += [
                (run.info.run_id, path.stem.removeprefix("test_"), pd.read_parquet(path)) for path in sorted(folder.glob("test_*.parquet"))
            ]
    return rounds


def tested_rounds(client: MlflowClient, run: Run) -> dict[int, list[tuple[str, str, pd.DataFrame]]]:
    """Return what the finished rounds of an experiment tested, or a round of it, as `tables_by_round` does.

    Raises:
        TrackingError: there is nothing.
    """
    rounds = tables_by_round(client, children_of(client, run) if parent_id_of(run) is None else [run])
    if not rounds:
        raise TrackingError(
            f"run {run.info.run_id} holds no tested rounds: give the id of a finished experiment (the parent run) or of a round"
        )
    return rounds


def _tested(client: MlflowClient, run: Run) -> dict[int, list[tuple[str, str, pd.DataFrame]]]:
    """Return the test sets and prediction tables of every round of an experiment."""
    if run.data.tags.get("kind") == "grid":
        raise TrackingError(f"run {run.info.run_id} is a grid, which tests a clip once per cell: expected indep, cross, matrix or within")
    rounds = tables_by_round(client, children_of(client, run))
    if not rounds:
        raise TrackingError(f"run {run.info.run_id} holds no tested rounds: give the id of a parent run whose rounds are finished")
    return rounds


def names_of(runs: Sequence[Run]) -> dict[str, Run]:
    """Name the experiments: their run names, cut; those that share one by the settings in which they differ, or else by their ids."""
    cut = [run.info.run_name[:NAME_CHARACTERS] for run in runs]
    alike = {name: [run for run, other in zip(runs, cut, strict=True) if other == name] for name in cut}
    labels = [f"{name}{_differing(run, alike[name])}" for name, run in zip(cut, runs, strict=True)]
    names = [name if labels.count(name) == 1 else f"{name} {run.info.run_id[:6]}" for name, run in zip(labels, runs, strict=True)]
    return dict(zip(names, runs, strict=True))


def _differing(run: Run, runs: Sequence[Run]) -> str:
    """Return ", seed 7": the settings of training in which some runs differ, as this one has them; nothing where they are too many."""
    settings = [{key: value for key, value in one.data.params.items() if key.partition(".")[0] in TRAINED_BY} for one in runs]
    names = sorted(name for name in set().union(*settings) if len({some.get(name) for some in settings}) > 1)
    text = "".join(f", {name.partition('.')[2]} {run.data.params.get(name)}" for name in names)
    return text if len(text) <= NAME_CHARACTERS // 2 else ""


def refuse_mixed(named: Mapping[str, Run]) -> None:
    """Raise SettingsError where experiments tell different emotions apart: their scores are of different tasks."""
    spaces: dict[Space, list[str]] = defaultdict(list)
    for name, run in named.items():
        spaces[space_of(run)].append(name)
    if len(spaces) > 1:
        groups = "; ".join(
            f"{space}: {', '.join(f'{name} ({named[name].info.run_id})' for name in names)}" for space, names in spaces.items()
        )
        raise SettingsError(f"experiments on different emotions cannot be compared, expected those of one line: {groups}")


def warning_about(runs: Iterable[Run]) -> str:
    """Return what is said beside everything that comes of such runs: that data are synthetic, if any are."""
    return "synthetic data" if any(run.data.tags.get("data") == "synthetic" for run in runs) else ""


def divisions_of(named: Mapping[str, Run]) -> dict[str, dict[str, str]]:
    """Return, by experiment, the settings that decide how its clips were divided."""
    return {name: {key: run.data.params.get(key, "") for key in DIVIDED_BY} for name, run in named.items()}


@dataclass(frozen=True)
class ComparedRuns(Comparison):
    """The comparison of experiments out of the store. Printed, or shown by a notebook, it is its page."""

    title: str
    note: str
    """What is said beside everything that comes of them: that data are synthetic; or nothing."""
    run_ids: tuple[str, ...]

    @property
    def page(self) -> str:
        """The comparison in Markdown, the claims first."""
        return comparison_page(self, self.title, self.note)

    def __repr__(self) -> str:
        return self.page

    def _repr_markdown_(self) -> str:
        return self.page


def compare_runs(runs: Sequence[str], tag: str | None, seed: int, resamples: int) -> ComparedRuns:
    """Compare experiments, chosen as `choose_runs` does; the first is the baseline. Logs nothing."""
    client = open_store()
    named = names_of(choose_runs(client, runs, tag))
    refuse_mixed(named)
    rounds = {name: read_rounds(client, run) for name, run in named.items()}
    with progress(math.comb(len(named), 2) * resamples, "comparing", "permutation") as bar:
        comparison = compare(rounds, seed, resamples, divisions_of(named), bar.update)
    title = " against ".join(reversed(named)) if len(named) == 2 else f"{len(named)} experiments"
    run_ids = tuple(run.info.run_id for run in named.values())
    return ComparedRuns(**vars(comparison), title=title, note=warning_about(named.values()), run_ids=run_ids)


def conduct_comparison(
    runs: Sequence[str], tag: str | None, seed: int, resamples: int, checkpoints: Path, figures: str = "png"
) -> ComparedRuns:
    """Compare experiments and log the tables, the page and the `figures` (png, pdf, both or none) as a run of kind `compare`."""
    from ser_mlops.experiments.recording import draw  # which, with the figures, loads torch, transformers and matplotlib
    from ser_mlops.scores.figures.comparison import comparison_figures

    comparison = compare_runs(runs, tag, seed, resamples)
    note, page = comparison.note, comparison.page
    tags = {"kind": "compare", "data": "synthetic" if note else "real", **commit_tags(), **machine_tags()}
    tags |= {f"compared.{number}": run_id for number, run_id in enumerate(comparison.run_ids)}
    with open_notebook(name=f"compare {comparison.title}", tags=tags, folder=checkpoints / OUTBOX) as notebook:
        run = notebook.parent
        run.text("comparison.md", page)
        for name, table in _tables(comparison).items():
            run.text(f"{name}.csv", table.to_csv(index=name == "rounds"))
        draw(run, comparison_figures(comparison.rounds, comparison.scores, comparison.differences, comparison.groups, note), figures)
        for number, row in enumerate(comparison.differences.itertuples()):
            values = {"difference": row.difference, "ci_low": row.ci_low, "ci_high": row.ci_high, "p": row.p_holm}
            pair = f"{number // comparison.differences['score'].nunique()}/" if len(comparison.run_ids) > 2 else ""
            run.metrics({f"compare/{pair}{row.score}_{name}": value for name, value in values.items() if np.isfinite(value)})
        run.describe(page.split("\n## Scores")[0])
    print(page)
    print(f"open in the MLflow UI: {notebook.link}")
    return comparison


def _tables(comparison: Comparison) -> Mapping[str, pd.DataFrame]:
    return {
        "scores": comparison.scores,
        "rounds": comparison.rounds,
        "differences": comparison.differences,
        "groups": comparison.groups,
        "group_differences": comparison.group_differences,
        "gaps": comparison.gaps,
    }
