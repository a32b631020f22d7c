"""Entry points `export_runs` and `import_runs`: an imported experiment is reproduced, compared and laid out as at home."""

import pytest

from tests.project import Project

pytestmark = pytest.mark.timeout(600)
GIVEN = {"test_dataset": "SAVEE", "model": "tiny", "epochs": "1", "rounds": "1", "batch_size": "8"}


@pytest.fixture(scope="module")
def imported(project, prepared, tmp_path_factory) -> tuple[Project, list[str], list[str]]:
    """A colleague's copy of the project that imported two experiments; their ids at home, and there."""
    project.commit("what the stages made")
    home = [project.opened(project.run_here("pipelines.train", **GIVEN, seed=seed)).info.run_id for seed in ("1", "2")]
    archive = tmp_path_factory.mktemp("archive") / "two.zip"
    said = project.run_here("pipelines.export_runs", runs=",".join(home), output=str(archive), models="best")
    assert "two.zip (synthetic data): 2 experiments, 4 runs, " in said
    colleague = prepared.copy(tmp_path_factory.mktemp("colleague") / "project")
    said = colleague.run_here("pipelines.import_runs", archive=str(archive))
    return colleague, home, [line.split()[1] for line in said.splitlines() if " now is the copy of " in line]


@pytest.mark.parametrize("whose", ["home", "there"])
def test_imported_experiments_are_compared_and_laid_out_by_either_id(imported, whose):
    colleague, home, there = imported
    runs = ",".join(home if whose == "home" else there)
    compared = colleague.opened(colleague.run_here("pipelines.compare", runs=runs, resamples="100"))
    assert [compared.data.tags[f"compared.{number}"] for number in (0, 1)] == there
    assert "| indep SAVEE tiny" in colleague.run_here("pipelines.table", runs=runs, resamples="100")
    assert "Errors of indep SAVEE tiny" in colleague.run_here("pipelines.errors", run_id=runs.split(",")[0])


def test_an_imported_experiment_is_reproduced_bit_for_bit_by_its_id_at_home(imported):
    colleague, home, there = imported
    said = colleague.run_here("pipelines.reproduce", run_id=home[0])
    assert ": equal: every metric, bit for bit" in said
    assert colleague.opened(said).data.tags["reproduces"] == there[0]


def test_an_imported_model_answers(imported, tmp_path):
    colleague, home, _ = imported
    audio = next((colleague.root / "data/demo/SAVEE").rglob("*.wav"))
    colleague.run_here("pipelines.predict", model_uri=home[0], audio=str(audio), output=str(tmp_path / "p.csv"))
    assert len((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_what_is_no_archive_is_refused_in_one_line(imported):
    colleague, *_ = imported
    line = colleague.refuse_here("pipelines.import_runs", archive="params.yaml")
    assert line.startswith("error: params.yaml is damaged, or no zip: ")
