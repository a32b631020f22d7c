"""The graph of dvc.yaml: every stage depends on what decides its output, and a change redoes what follows from it and nothing else."""

import shutil

import pytest
from ruamel.yaml import YAML

from ser_mlops.tracking.imports import find_modules, import_closure
from tests.project import ROOT, Project

MODULES = find_modules(ROOT)
FILES = [YAML(typ="safe").load(ROOT / file)["stages"] for file in ("dvc.yaml", "data/dvc.yaml")]
STAGES = {name: stage.get("do", stage) for stages in FILES for name, stage in stages.items()}
DECIDES_NOTHING = {
    "ser_mlops.data.progress": "how far the work is",
    "ser_mlops.data.folders": "where a table lies is not what is in it, and dvc.yaml names the same places",
    "ser_mlops.errors": "what a message says is in no output",
    "ser_mlops.files": "how a file comes to be whole is not what is in it",
    "ser_mlops.settings.sections": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.preparation": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.analysis": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.recipes": "which settings of a training go together",
    "ser_mlops.settings.search": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.training": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.cores": "how many processes share the work; what comes out is the same",
    "ser_mlops.settings.jobs": "where trainings run",
    "ser_mlops.settings.kinds": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.fields": "what params.yaml may hold; the values are params of the stage",
    "ser_mlops.settings.reading": "how params.yaml is read; the values are params of the stage",
    "ser_mlops.commands": "how a command line is read, and how a command ends",
}
"""Modules that stages import and do not depend on: a change to them would redo everything for nothing."""
DECIDING = {module: path for module, path in MODULES.items() if module not in DECIDES_NOTHING}
"""The others: what is imported only behind a module that decides nothing decides nothing either."""


def listed_modules(stage: dict) -> set[str]:
    """The modules among a stage's dependencies, folders opened."""
    files = {
        file.relative_to(ROOT)
        for path in stage["deps"]
        if path.startswith(("pipelines/", "ser_mlops/"))
        for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
    }
    return {".".join(file.with_suffix("").parts) for file in files if file.name != "__init__.py"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_modules_that_decide_its_output(name):
    behind = set(import_closure([f"pipelines.{name}"], DECIDING))
    listed = listed_modules(STAGES[name])
    assert sorted(behind - listed) == [], f"imported by stage {name}, not among its deps"
    folders = {path for path in STAGES[name]["deps"] if path.startswith("ser_mlops/") and not path.endswith(".py")}
    needless = {module for module in listed - behind if module.replace(".", "/").rpartition("/")[0] not in folders}
    assert sorted(needless) == [], f"among the deps of stage {name}, not imported"


def test_decoding_depends_on_no_corpus_module_and_no_label_rule():
    assert not {module for module in listed_modules(STAGES["audio"]) if module.startswith("ser_mlops.data.corpora")}
    assert set(STAGES["audio"]["params"]) == {"data.raw", "audio"}


@pytest.fixture(scope="module")
def real(project, tmp_path_factory) -> Project:
    """A copy whose `data/raw` links to recordings outside it: two corpora, brought up to date."""
    folder = tmp_path_factory.mktemp("real")
    for corpus in ("SAVEE", "TESS"):
        shutil.copytree(project.root / "data/demo" / corpus, folder / "recordings" / corpus)
    real = project.copy(folder / "project")
    (real.root / "data/raw").symlink_to(folder / "recordings")
    real.set(raw="data/raw", corpora="[SAVEE, TESS]")
    ran = real.repro()
    assert "demo@SAVEE" not in ran
    assert {"catalogue@SAVEE", "audio@TESS", "frames@TESS", "report"} <= set(ran)
    return real


def test_a_second_repro_does_nothing_and_says_so(project):
    assert project.repro() == []
    assert "Data and pipelines are up to date." in project.run("dvc", "repro")


def test_compiled_code_is_no_dependency(project):
    """It differs from one machine and one version of Python to the next."""
    compiled = [*project.root.glob("ser_mlops/**/__pycache__")]
    assert compiled
    for folder in compiled:
        shutil.rmtree(folder)
    assert project.repro() == []


def test_a_changed_split_redoes_the_frames_and_what_follows(project, tmp_path):
    copy = project.copy(tmp_path / "project")
    copy.set(split="stratified")
    assert copy.repro() == ["frames@CREMA", "frames@SAVEE", "frames@TESS", "report"]


def test_a_changed_raw_file_redoes_its_corpus_alone(real):
    clips = sorted((real.root / "data/raw/TESS").rglob("*.wav"))
    shutil.copy(clips[1], clips[0])
    assert real.repro() == ["catalogue@TESS", "audio@TESS", "frames@TESS", "report"]
    assert "duplicate samples" in (real.root / "data/left_out/TESS.csv").read_text()
    assert "duplicate samples" in (real.root / "reports/data/index.md").read_text()


def test_a_changed_corpus_module_decodes_nothing_again(real):
    module = real.root / "ser_mlops/data/corpora/tess.py"
    module.write_text(module.read_text() + "\n# a change that changes nothing\n")
    assert {stage.partition("@")[0] for stage in real.repro()} <= {"definition", "catalogue", "frames", "report"}


def test_another_corpus_of_ones_own_redoes_no_corpus_that_was_there(real):
    own = real.root / "data/own_corpora.py"
    own.write_text(own.read_text() + "\n# a comment\nOF_SOMETHING_ELSE = ('F', 'M')\n")
    assert real.repro() == ["definition@SAVEE", "definition@TESS"]


def test_one_corpus_is_redone_alone(real):
    assert real.repro("--force", "--single-item", "frames@SAVEE") == ["frames@SAVEE"]


def test_a_corpus_that_is_taken_out_is_neither_made_nor_trained_on_any_more(real):
    real.set(corpora="[SAVEE]")
    assert real.repro() == ["report"]
    assert "TESS" not in (real.root / "reports/data/quality.json").read_text()
    real.set(corpora="[SAVEE, TESS]")
    assert real.repro() == ["report"]
