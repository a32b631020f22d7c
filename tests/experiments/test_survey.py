"""Entry point `survey`: killed twice, it ends with the table of an undisturbed one; what it refuses, and what a failing model leaves."""

import signal

import pytest

from tests.models.builders import write_checkpoint
from tests.processes import Signal
from tests.project import Project, parents_of

pytestmark = pytest.mark.timeout(600)
GIVEN = {"experiment_type": "cross", "rounds": "2", "recipe": "head", "epochs": "2"}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> str:
    return f"baseline,tiny,{write_checkpoint(tmp_path_factory.mktemp('model') / 'stand-in', 'W2V2-base')}"


@pytest.fixture(scope="module")
def undisturbed(project: Project, models: str) -> str:
    """What an undisturbed survey printed."""
    return project.run_here("pipelines.survey", models=models, **GIVEN)


def table_of(project: Project, output: str) -> str:
    """The table that a survey's output ends with, as it was logged."""
    line = [line for line in output.splitlines() if line.startswith("open in the MLflow UI")][-1]
    run = project.client.get_run(line.rpartition("/")[2].partition("?")[0])
    assert run.data.tags["kind"] == "table"
    with open(project.client.download_artifacts(run.info.run_id, "table.csv"), encoding="utf-8") as file:
        return file.read()


def name_of(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("survey ")).partition(":")[0].split()[1]


def experiments_of(project: Project) -> dict[str, str]:
    """Status of every experiment by its model."""
    return {run.data.tags["model"]: run.info.status for run in parents_of(project.runs()) if "code" in run.data.tags}


def test_a_survey_ends_with_a_row_for_every_model_in_their_order(project, models, undisturbed):
    table = table_of(project, undisturbed)
    rows = list(dict.fromkeys(line.rpartition("CREMA")[0].strip('",') for line in table.splitlines() if ",CREMA," in line))
    *folder, stand_in = rows
    assert folder == ["baseline", "tiny, encoder frozen"]
    assert "stand-in, encoder frozen" in stand_in
    tagged = [run for run in parents_of(project.runs()) if run.data.tags.get("survey") == name_of(undisturbed)]
    assert sorted(run.data.tags["kind"] for run in tagged) == ["cross", "cross", "cross", "table"]
    assert "1 of 3, baseline" in undisturbed


def test_a_survey_killed_twice_ends_with_the_table_of_an_undisturbed_one(project, models, undisturbed, tmp_path):
    copy = project.copy(tmp_path / "project")
    at_first_epoch = Signal(signal.SIGKILL, "ser_mlops.training.checkpoints", "_write", "best-")  # of the second model, a network
    for _ in range(2):
        copy.fork("pipelines.survey", GIVEN | {"models": models}, disturbance=at_first_epoch).finish(-signal.SIGKILL)
    assert experiments_of(copy)["baseline"] == "FINISHED"
    assert set(experiments_of(copy)) == {"baseline", "tiny"}
    resumed = copy.run_here("pipelines.survey", models=models, **GIVEN)
    assert name_of(resumed) == name_of(undisturbed)
    assert "3 models" in resumed
    assert "1 finished, 2 to run" in resumed
    assert list(experiments_of(copy).values()) == ["FINISHED"] * 3
    assert table_of(copy, resumed) == table_of(project, undisturbed)


def test_what_a_survey_decides_is_refused_and_so_is_what_no_model_has(project, models):
    assert "models is empty" in project.refuse_here("pipelines.survey")
    assert "models names tiny twice" in project.refuse_here("pipelines.survey", models="tiny,tiny")
    assert "model=tiny does not go with a survey, use models" in project.refuse_here("pipelines.survey", models="tiny", model="tiny")
    assert "lr=0.1 does not go with model=baseline" in project.refuse_here("pipelines.survey", models="baseline", lr="0.1")
    assert "unknown corpus 'TES'" in project.refuse_here("pipelines.survey", models="baseline,tiny", train_datasets="TES")


def test_a_named_survey_takes_more_models_later_and_refuses_other_settings(project):
    given = {"survey": "named", "experiment_type": "cross", "rounds": "1", "train_datasets": "SAVEE,TESS"}
    project.run_here("pipelines.survey", models="baseline", **given)
    more = project.run_here("pipelines.survey", models="baseline,tiny", **given, epochs="1")
    assert "2 models (baseline, tiny), 1 finished, 1 to run" in more
    told = project.refuse_here("pipelines.survey", models="baseline,tiny", **{**given, "rounds": "2"})
    assert "rounds=2, but run" in told


def test_a_setting_that_a_named_survey_was_begun_with_and_that_is_left_out_later_is_refused(project):
    given = {"survey": "begun", "experiment_type": "cross", "rounds": "1", "train_datasets": "SAVEE,TESS"}
    project.run_here("pipelines.survey", models="tiny", **given, lr="1e-3", epochs="1")
    before = len(project.runs())
    told = project.refuse_here("pipelines.survey", models="tiny,baseline", **given, epochs="1")
    assert "of the survey was started with other settings: lr was 0.001, is " in told
    assert told.endswith(". Another name (survey=NAME) begins afresh")
    assert "epochs" not in told
    assert len(project.runs()) == before
    assert "1 finished, 1 to run" in project.run_here("pipelines.survey", models="tiny,baseline", **given, lr="1e-3", epochs="1")


def test_a_model_that_fails_does_not_keep_the_others_from_running(project):
    given = {"models": "tiny,baseline", "experiment_type": "cross", "rounds": "1", "train_datasets": "SAVEE,TESS", "epochs": "1"}
    code, printed, told = project.call("pipelines.survey", given | {"survey": "failing", "lr": "1e30"})
    assert code == 2
    assert "| baseline" in printed
    assert "1 of 2 models failed, the same command tries them again: tiny: " in told
