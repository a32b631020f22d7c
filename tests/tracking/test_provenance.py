"""Provenance: a run's code hash changes with what its numbers depend on, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from ser_mlops.tracking.provenance import PACKAGE, changed_files, code_listing


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("training/fit.py", True),
        ("training/evaluate.py", True),
        ("training/recipe.py", True),
        ("models/classifier.py", True),
        ("data/splits.py", True),
        ("scores/metrics.py", True),
        ("seeds.py", True),
        ("serving/page.py", False),
        ("tracking/provenance.py", False),
        ("launching/dispatch.py", False),
        ("settings/sections.py", False),
        ("commands.py", False),
    ],
)
def test_a_comment_changes_the_code_hash_only_where_numbers_could_depend_on_it(tmp_path: Path, file: str, changes: bool) -> None:
    shutil.copytree(PACKAGE, tmp_path / "ser_mlops")
    changed = tmp_path / "ser_mlops" / file
    changed.write_text(changed.read_text(encoding="utf-8") + "# a comment\n", encoding="utf-8")
    assert changed_files(code_listing(), code_listing(tmp_path)) == ([file] if changes else [])
