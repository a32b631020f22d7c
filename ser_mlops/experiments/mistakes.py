"""Finds what an experiment or one of its rounds gets wrong: predictions out of MLflow, the mistakes into a run of kind `errors`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ser_mlops.data.facts import read_facts
from ser_mlops.data.folders import frame_file
from ser_mlops.data.selection import within
from ser_mlops.errors import TrackingError
from ser_mlops.experiments.comparison import each_clip_once, tested_rounds, warning_about
from ser_mlops.experiments.recording import draw
from ser_mlops.files import md5_of
from ser_mlops.scores.mistakes import Mistakes, find_mistakes
from ser_mlops.scores.mistakes_page import mistakes_page
from ser_mlops.scores.predictions import logits_of
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import commit_tags, machine_tags
from ser_mlops.tracking.store import MlflowClient, Run, find_run, open_store, parent_id_of, space_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "errors"
IN_ORDER = ("length", "level")
"""Groupings whose values have an order of their own."""


@dataclass(frozen=True)
class Answers:
    """What an experiment, or one of its rounds, answered."""

    run: Run
    rounds: Sequence[pd.DataFrame]
    """One prediction table per round, with the id of the run that tested each clip in `run_id`."""
    facts: pd.DataFrame
    """Of the clips of its corpora, as the project has them now."""
    notes: Sequence[str]
    """How these differ from those that were tested."""

    @property
    def warning(self) -> str:
        return warning_about([self.run])

    def find_mistakes(self) -> Mistakes:
        """Return what it gets wrong."""
        return find_mistakes(self.rounds, self.facts)


def read_answers(client: MlflowClient, run_id: str) -> Answers:
    """Read what an experiment or a round answered to every clip; a clip counts as it was tested first in a round.

    Raises:
        TrackingError: there is no such run, it is not finished, holds no predictions, or is a grid.
        DataError: a table of its corpora is missing.
    """
    run = find_run(client, run_id)
    if run.info.status != "FINISHED":
        raise TrackingError(f"run {run_id} is {run.info.status}, expected a finished experiment or round")
    is_round = parent_id_of(run) is not None
    if not is_round and run.data.tags.get("kind") == "grid":
        raise TrackingError(f"run {run_id} is a grid, which tests a clip once per cell: give the id of one of its cells")
    tested = tested_rounds(client, run)
    rounds = [each_clip_once([table.assign(run_id=tester) for tester, _, table in tested[round]]) for round in sorted(tested)]
    corpora = sorted(rounds[0]["corpus"].astype("str").unique())
    facts = within(read_facts(corpora), space_of(run))
    return Answers(run, rounds, facts, _changes(run, corpora, rounds[0], facts))


def _changes(run: Run, corpora: Sequence[str], table: pd.DataFrame, facts: pd.DataFrame) -> list[str]:
    """Say what the project knows otherwise than when the run was made."""
    changed = [corpus for corpus in corpora if run.data.tags.get(f"dvc.{corpus}") != md5_of(frame_file(corpus))]
    if not changed:
        return []
    now = table.merge(facts[["path", "labels"]], on="path", how="left", suffixes=("", "_now"))
    gone, relabelled = now["labels_now"].isna(), now["labels_now"].notna() & (now["labels_now"] != now["labels"])
    counts = f"{gone.sum()} of its clips are no longer there, {relabelled.sum()} have another label now (those of the run count)"
    return [f"the frame of {', '.join(changed)} is not the one that the run was tested on: {counts}"]


def conduct_errors(run_id: str, top: int, checkpoints: Path, figures: str) -> Mistakes:
    """Find the mistakes of an experiment or a round, and log tables, page and figures as a run of kind `errors`."""
    answers = read_answers(open_store(), run_id)
    mistakes = answers.find_mistakes()
    title = f"Errors of {answers.run.info.run_name}"
    page = mistakes_page(mistakes, title, top, answers.notes, answers.warning)
    tags = {"kind": KIND, "data": "synthetic" if answers.warning else "real", "errors_of": run_id, **commit_tags(), **machine_tags()}
    with open_notebook(name=f"errors {answers.run.info.run_name}", tags=tags, folder=checkpoints / OUTBOX) as notebook:
        run = notebook.parent
        run.text("errors.md", page)
        for name, table in tables_of(mistakes).items():
            run.text(f"{name}.csv", table.to_csv(index=False))
        run.metrics({f"errors/{name}": value for name, value in mistakes.metrics.items()})
        draw(run, _figures(mistakes, answers), figures)
        run.describe(page.split("\n## Confused emotions")[0])
    print(page)
    print(f"listen to them: make listen RUN={run_id}")
    print(f"open in the MLflow UI: {notebook.link}")
    return mistakes


def tables_of(mistakes: Mistakes) -> Mapping[str, pd.DataFrame]:
    """Return the tables by the names of their files; that of listeners only where they voted."""
    tables = {
        "clips": mistakes.clips,
        "mistakes": mistakes.answers,
        "pairs": mistakes.pairs,
        "groups": mistakes.groups,
        "stability": mistakes.stability,
        "listeners": mistakes.listeners,
    }
    return {name: table for name, table in tables.items() if name != "listeners" or not table.empty}


def _figures(mistakes: Mistakes, answers: Answers) -> "Iterator[tuple[str, Figure]]":
    from ser_mlops.scores.figures.mistakes import confidences, confused_pairs, wrong_by_group, wrong_in_rounds

    name, note = answers.run.info.run_name, answers.warning
    yield "pairs", confused_pairs(mistakes.pairs, f"{name}: what is taken for what", note)
    yield "confidence", confidences(*_confidences(answers.rounds), f"{name}: how sure it is", note)
    if mistakes.num_rounds > 1:
        yield "rounds", wrong_in_rounds(mistakes.clips, mistakes.num_rounds, f"{name}: wrong from seed to seed", note)
    for grouping, groups in mistakes.groups.groupby("grouping", sort=False):
        title = f"{name}: wrong answers by {grouping}"
        figure = wrong_by_group(groups, mistakes.metrics["wrong"], title, note, in_order=grouping in IN_ORDER)
        yield f"by_{str(grouping).replace(' ', '_')}", figure


def _confidences(rounds: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidences of right and of wrong answers, of all rounds."""
    from scipy.special import softmax

    logits = np.concatenate([logits_of(table, np.float64) for table in rounds])
    labels = np.concatenate([table["labels"].to_numpy() for table in rounds])
    is_right = logits.argmax(axis=1) == labels
    confidences = softmax(logits, axis=1).max(axis=1)
    return confidences[is_right], confidences[~is_right]
