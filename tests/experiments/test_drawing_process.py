"""Figures that another process draws while the next round trains: the same files, also where that process dies, and none is lost."""

import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_mlops.errors import Interrupted
from ser_mlops.experiments.artifacts import FIGURES_FOLDER
from ser_mlops.experiments.drawing import RoundDrawing
from ser_mlops.experiments.drawing_process import DrawingProcess, draw_into
from ser_mlops.experiments.plan import Training, plan_trainings
from ser_mlops.experiments.recording import draw_missing
from ser_mlops.experiments.results import Result
from ser_mlops.scores.predictions import prediction_table
from ser_mlops.tracking.notebook import Notebook, Planned, open_notebook
from ser_mlops.tracking.store import open_store, read_artifact
from tests.builders import tiny_frame
from tests.tracking.builders import copy_store, in_store

FRAME = tiny_frame("A", {"a0": 0, "a1": 1, "a2": 2})


@pytest.fixture
def result() -> Result:
    training: Training
    (training,) = plan_trainings(
        {"A": FRAME},
        experiment_type="indep",
        train_datasets=(),
        test_dataset="A",
        test_split_source=None,
        fold=0,
        validation_share=0.3,
        seed=1,
    )
    logits = np.random.default_rng(0).normal(size=(len(training.tests["A"]), 7))
    history = pd.DataFrame(
        {"epoch": [1, 2], "train/loss": [2.0, 1.0], "val/loss": [2.0, 1.5], "val/uar": [0.1, 0.3], "val/accuracy": [0.1, 0.3]}
    )
    return Result(training, 0, 2, history, {"A": prediction_table(training.tests["A"], logits)})


@pytest.fixture
def notebook(fresh_database, tmp_path):
    copy_store(fresh_database, tmp_path)
    with in_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path):
        planned = [Planned(key, key, {}) for key in ("first", "second")]
        with open_notebook(name="indep A", tags={}, planned=planned, folder=tmp_path / "outbox") as notebook:
            yield notebook


def drawn_here(folder: Path, drawing: RoundDrawing) -> dict[str, str]:
    folder.mkdir()
    draw_into(folder, drawing)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def logged(notebook: Notebook, key: str) -> dict[str, str]:
    notebook.parent._outbox.flush()
    run_id = notebook.children[key].run_id
    paths = [read_artifact(open_store(), run_id, item.path) for item in notebook.client.list_artifacts(run_id, FIGURES_FOLDER)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_another_process_draws_the_same_files_into_runs_that_have_ended(notebook, result, tmp_path):
    drawing = RoundDrawing.of(result, "synthetic data", "both")
    with DrawingProcess() as artist:
        for key in notebook.children:
            with notebook.child(key) as run:
                artist.draw(run, drawing)
    expected = drawn_here(tmp_path / "here", drawing)
    assert {*expected} == {f"{name}.{suffix}" for name in drawing.names for suffix in ("png", "pdf")}
    assert logged(notebook, "first") == logged(notebook, "second") == expected


def test_figures_are_drawn_here_where_their_process_died(notebook, result, tmp_path):
    drawing = RoundDrawing.of(result, "", "png")
    with DrawingProcess() as artist:
        os.kill(artist._process.pid, signal.SIGKILL)
        artist._process.wait()
        artist.draw(notebook.children["first"], drawing)
    assert logged(notebook, "first") == drawn_here(tmp_path / "here", drawing)


def test_a_resume_draws_what_a_kill_left_undrawn_and_nothing_else(notebook, result, tmp_path):
    run = notebook.children["first"]
    draw_missing(notebook.client, run, result, "", "none")
    assert logged(notebook, "first") == {}
    draw_missing(notebook.client, run, result, "", "png")
    first = logged(notebook, "first")
    assert first == drawn_here(tmp_path / "here", RoundDrawing.of(result, "", "png"))
    draw_missing(notebook.client, run, result, "another note", "png")
    assert logged(notebook, "first") == first


def test_a_stop_that_comes_while_figures_are_awaited_loses_none(notebook, result, tmp_path):
    drawing = RoundDrawing.of(result, "", "png")

    def stop(*arguments: object, **options: object) -> None:
        del artist._thread.shutdown  # once
        raise Interrupted("SIGTERM")

    artist = DrawingProcess()
    artist.draw(notebook.children["first"], drawing)
    artist._thread.shutdown = stop
    with pytest.raises(Interrupted):
        artist.__exit__(None, None, None)
    assert artist._process.returncode == 0
    assert logged(notebook, "first") == drawn_here(tmp_path / "here", drawing)
