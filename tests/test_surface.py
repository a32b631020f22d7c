"""`import ser_mlops`: what it offers, and that it loads nothing."""

import ast
import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import ser_mlops
from ser_mlops.errors import DataError
from tests.experiments.builders import furnish, toy_frame
from tests.project import ROOT


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
