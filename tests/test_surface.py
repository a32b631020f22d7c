"""`import ser_mlops`: what it offers, that it loads nothing, and the notebook of the docs, run from its first cell to its last."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ser_mlops
from ser_mlops.errors import DataError, ModelError, SettingsError, TrackingError
from tests.experiments.builders import furnish, toy_frame
from tests.project import ROOT, Project
from tests.tracking.builders import in_store


def test_importing_the_package_loads_none_of_what_it_needs():
    program = "import sys; before = {*sys.modules}; import ser_mlops; print(*sorted({*sys.modules} - before))"
    loaded = subprocess.run([sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "ser_mlops" in loaded
    assert [name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, "ser_mlops"}] == []
    assert [name for name in loaded if name.startswith("ser_mlops.")] == []


def test_every_name_is_there_documented_and_hidden_by_no_module():
    for name, home in ser_mlops.HOMES.items():
        assert getattr(ser_mlops, name) is getattr(importlib.import_module(f"ser_mlops.{home}"), name)
        assert getattr(ser_mlops, name).__doc__
        assert name in dir(ser_mlops)
        assert f"`ser.{name}(" in (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert ser_mlops.__all__ == [*ser_mlops.HOMES]
    modules = {path.stem for path in (ROOT / "ser_mlops").iterdir()}
    assert not modules & set(ser_mlops.HOMES), "an import of the module would put it in the place of the function"


def test_what_type_checkers_read_is_what_python_reads():
    tree = ast.parse((ROOT / "ser_mlops/__init__.py").read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ser_mlops.")]
    assert {alias.name: str(node.module).removeprefix("ser_mlops.") for node in imported for alias in node.names} == ser_mlops.HOMES


def test_the_packages_own_file_is_the_only_one_with_content():
    """The others make a room a package and nothing else: who imports a module runs them all, and the layers would not show it."""
    assert [str(path) for path in sorted(ROOT.glob("ser_mlops/*/**/__init__.py")) if path.read_text()] == []


def test_frames_and_waves_are_those_of_the_stages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="work in the folder of the project, after `dvc repro`"):
        ser_mlops.frame("TESS")
    furnish(tmp_path)
    frame = ser_mlops.frame("TESS")
    pd.testing.assert_frame_equal(frame, toy_frame())
    clip, audio = frame.iloc[3], np.load("data/audio/TESS.npy")
    np.testing.assert_array_equal(ser_mlops.wave(clip), audio[clip["start"] : clip["start"] + clip["num_samples"]])
    with pytest.raises(DataError, match=r"unknown corpus 'TES'.*expected one of: TESS"):
        ser_mlops.frame("TES")


NOTEBOOK = ROOT / "docs/notebook.ipynb"


def cells_of(notebook: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.fixture(scope="module")
def furnished(project) -> Project:
    """A project with the two experiments that the notebook says it needs."""
    first = "".join(cells_of(NOTEBOOK, "markdown")[0]["source"])
    commands = re.findall(r"^mlflow run \. (?:-e (\w+) )?-P (.*)$", first, re.MULTILINE)
    assert len(commands) == 2
    for entry, parameters in commands:
        project.run_here(f"pipelines.{entry or 'train'}", **dict(parameter.split("=", 1) for parameter in parameters.split(" -P ")))
    return project


@pytest.fixture
def here(furnished) -> Iterator[Project]:
    """That project as the working directory and the store."""
    with in_store(f"sqlite:///{furnished.root}/mlflow.db", furnished.root):
        yield furnished


def test_runs_and_rounds_hold_what_mlflow_holds_in_types(here):
    runs = ser_mlops.runs()
    assert runs["name"].tolist() == ["baseline", "tiny"], "the newest first"
    baseline, tiny = runs.index
    parent = here.client.get_run(tiny)
    scores = {name: value for name, value in parent.data.metrics.items() if not name.startswith("system/")}
    assert {name: runs.loc[tiny, name] for name in scores} == scores
    assert not [name for name in runs.columns if name.startswith(("mlflow.", "system/"))]
    assert runs.loc[tiny, ["kind", "data", "paper", "train.lr", "train.rounds"]].tolist() == ["indep", "synthetic", "notebook", 0.03, 3]
    assert runs["train.lr"].isna()[baseline], "the baseline has none"
    assert runs["train.lr"].dtype == runs["test/uar_mean"].dtype == "float64"
    assert runs["train.rounds"].dtype == "int64"
    assert (runs["ended"] > runs["started"]).all()
    rounds = ser_mlops.rounds(tiny)
    children = here.children_of(parent)
    assert rounds.index.tolist() == [child.info.run_id for child in children]
    assert rounds["round"].tolist() == [0, 1, 2]
    assert rounds["test/uar"].tolist() == [child.data.metrics["test/uar"] for child in children]
    assert rounds["train.attention_mask"].dtype == bool


def test_runs_are_chosen_by_kind_and_tag(here):
    assert ser_mlops.runs("indep", tag="paper=notebook")["name"].tolist() == ["baseline", "tiny"]
    for none in (ser_mlops.runs("sweep"), ser_mlops.runs(tag="paper=other")):
        assert none.empty
        assert none.columns.tolist() == ["name", "title", "kind", "status", "started", "ended"]


def test_scores_of_predictions_are_those_of_the_runs(here):
    tiny = ser_mlops.runs().index[1]
    predictions, rounds, runs = ser_mlops.predictions(tiny), ser_mlops.rounds(tiny), ser_mlops.runs()
    table = ser_mlops.score_table(predictions)
    for score, row in table.iterrows():
        for column, value in row.dropna().items():
            assert value == runs.loc[tiny, f"test/{score}_{column}"]
    for run_id, own in predictions.groupby("run_id"):
        pd.testing.assert_frame_equal(ser_mlops.predictions(run_id), own.reset_index(drop=True))
        alone = ser_mlops.score_table(own.drop(columns="round"))["mean"]
        assert alone.to_dict() == pytest.approx({name: rounds.loc[run_id, f"test/{name}"] for name in alone.index})
    hits = predictions["emotion"] == predictions["predicted"]
    assert table.loc["accuracy", "mean"] == pytest.approx(hits.mean())
    frame = ser_mlops.frame("CREMA").set_index("path")
    assert (predictions["emotion"].astype(str) == frame.loc[predictions["path"], "emotions"].astype(str).to_numpy()).all()


def test_a_table_without_an_interval_says_why(here):
    perfect = ser_mlops.predictions(ser_mlops.runs().index[0])
    table = ser_mlops.score_table(perfect)
    assert np.isnan(table.loc["uar", "ci_low"])
    assert "all speakers of a corpus score alike" in table.attrs["notes"][0]


def test_a_comparison_is_that_of_the_entry_point(here):
    baseline, tiny = ser_mlops.runs().index
    ours = ser_mlops.compare(baseline, tiny, resamples=200)
    printed = here.run_here("pipelines.compare", runs=f"{baseline},{tiny}", resamples="200")
    assert printed.startswith(ours.page)
    assert repr(ours) == ours.page
    by_tag = ser_mlops.compare(tag="paper=notebook", resamples=200)
    assert by_tag.run_ids == (tiny, baseline), "the oldest first"
    assert by_tag.differences["difference"].tolist() == (-ours.differences["difference"]).tolist()


def test_embeddings_of_clips_and_of_their_samples_are_those_of_the_encoder(here):
    tiny = ser_mlops.runs().index[1]
    frame = ser_mlops.frame("TESS")
    every = ser_mlops.embeddings(frame, tiny)
    assert every.shape == (len(frame), 3, 24)
    assert (ser_mlops.embeddings(frame, "tiny", layer=-1) == every[:, 2]).all(), "the encoder was frozen"
    some = frame.sample(7, random_state=1)
    np.testing.assert_array_equal(ser_mlops.embeddings(some, tiny, layer=[2, 0]), every[some.index][:, [2, 0]])
    waves = [ser_mlops.wave(clip) for _, clip in some.iterrows()]
    np.testing.assert_allclose(ser_mlops.embeddings(waves, tiny, layer=1, rate=16000), every[some.index, 1], atol=1e-6)
    files = [Path("data/demo") / path for path in some["path"]]
    np.testing.assert_allclose(ser_mlops.embeddings(files[0], tiny), every[some.index[:1]], atol=1e-6)
    vectors = ser_mlops.embeddings(some, "baseline", layer=0)
    np.testing.assert_array_equal(ser_mlops.embeddings(waves, ser_mlops.runs().index[0], layer=0, rate=16000), vectors)


def test_mistakes_are_named_with_what_is_accepted(here):
    tiny = ser_mlops.runs().index[1]
    one = ser_mlops.rounds(tiny).index[0]
    frame, predictions = ser_mlops.frame("TESS"), ser_mlops.predictions(tiny)
    for call, kind, message in (
        (lambda: ser_mlops.frames, AttributeError, "'ser_mlops' has no attribute 'frames', expected one of: frame, wave, runs"),
        (lambda: ser_mlops.rounds(one), TrackingError, "has no rounds, expected the id of an experiment"),
        (lambda: ser_mlops.predictions("x"), TrackingError, "no run 'x' in sqlite:.*, expected a run id"),
        (lambda: ser_mlops.runs(tag="paper"), SettingsError, "tag=paper is not accepted, expected KEY=VALUE"),
        (lambda: ser_mlops.compare(tiny), SettingsError, "compare takes two or more experiments, got 1"),
        (lambda: ser_mlops.score_table(predictions.drop(columns="round")), DataError, "was tested twice in one round: score one"),
        (lambda: ser_mlops.score_table(predictions[:0]), DataError, "no predictions to score"),
        (lambda: ser_mlops.embeddings(frame, tiny, layer=3), SettingsError, "layer=3 is not accepted, the model has the layers 0 to 2"),
        (lambda: ser_mlops.embeddings([], tiny), DataError, "no clips or recordings to embed"),
        (lambda: ser_mlops.embeddings(frame[:0], tiny), DataError, "no clips or recordings to embed"),
        (lambda: ser_mlops.embeddings(np.ones(9, np.float32), tiny), DataError, "samples have no rate, expected rate=44100, say"),
        (lambda: ser_mlops.embeddings([np.zeros(99, np.int16)], tiny, rate=16000), DataError, "recording 0: all zeros"),
        (lambda: ser_mlops.embeddings("no.wav", tiny), DataError, "no file no.wav"),
        (lambda: ser_mlops.embeddings(frame, "tinny"), ModelError, "unknown model 'tinny', expected one of: HuB-LL"),
    ):
        with pytest.raises(kind, match=message):
            call()


def test_the_notebook_of_the_docs_was_run_in_order_and_names_no_place():
    cells = cells_of(NOTEBOOK, "code")
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    assert {output["output_type"] for cell in cells for output in cell["outputs"]} <= {"execute_result", "display_data", "stream"}
    assert not re.findall(r"/(?:home|tmp|root|work|Users)/|\b[0-9a-f]{32}\b", NOTEBOOK.read_text(encoding="utf-8"))
    assert NOTEBOOK.stat().st_size < 200_000


def test_the_notebook_of_the_docs_shows_what_it_gives(furnished, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install -e .[notebook])")
    import nbformat

    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(furnished.root))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(furnished.root / "docs")}}).execute()
    again = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell, before in zip(again, cells_of(NOTEBOOK, "code"), strict=True):
        shown, expected = text_of(cell), text_of(before)
        if "trained" in before["metadata"].get("tags", ()):  # by a network, whose last digits depend on the processor
            assert re.sub(NUMBER, "", shown).split() == re.sub(NUMBER, "", expected).split(), before["source"]
            numbers = [[float(number) for number in re.findall(NUMBER, text)] for text in (shown, expected)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.1, rel=0.1), before["source"]
        else:
            assert shown == expected, before["source"]


NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def text_of(cell: Mapping[str, Any]) -> str:
    """What a cell shows, as text, without warnings of libraries; of a figure only that it is there."""
    texts = (output.get("text") or output["data"]["text/plain"] for output in cell["outputs"] if output.get("name") != "stderr")
    return "".join("".join(text) for text in texts)
