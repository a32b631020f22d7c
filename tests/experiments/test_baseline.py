"""Entry point `baseline`: what its runs hold, how it resumes after a kill, what its help lists and what `compare` calls its runs."""

import signal

import pytest

from ser_mlops.experiments.results import WHAT_TO_TRY, WHAT_TO_TRY_IN_BASELINE
from tests.processes import Signal
from tests.project import Project, metrics_of, parents_of

pytestmark = pytest.mark.timeout(600)
GIVEN = {"test_dataset": "SAVEE", "rounds": "2"}


@pytest.fixture(scope="module")
def finished(project: Project) -> str:
    """The id of a finished baseline."""
    return project.opened(project.run_here("pipelines.baseline", **GIVEN)).info.run_id


def test_a_baseline_is_an_experiment_with_scores_predictions_and_a_model(project, finished):
    parent = project.client.get_run(finished)
    rounds = project.children_of(parent)
    assert [run.info.status for run in (parent, *rounds)] == ["FINISHED"] * 3
    assert "baseline" in parent.info.run_name
    assert parent.data.params["baseline.classifier"] == "svm"
    assert "train.lr" not in parent.data.params
    assert parent.data.metrics["test/uar_mean"] > parent.data.metrics["test/chance"]
    assert metrics_of(rounds[0]) == metrics_of(rounds[1]), "nothing in a fit is random"
    for run in rounds:
        assert [item.path for item in project.client.list_artifacts(run.info.run_id, "predictions")] == ["predictions/test_SAVEE.parquet"]
        assert len(run.outputs.model_outputs) == 1


def test_a_killed_baseline_is_resumed_and_ends_with_the_same_numbers(project, finished, tmp_path):
    copy = project.copy(tmp_path / "project")
    at_first_score = Signal(signal.SIGKILL, "ser_mlops.tracking.outbox", "Outbox.append", "val/uar")
    copy.fork("pipelines.baseline", GIVEN, disturbance=at_first_score).finish(-signal.SIGKILL)
    (parent,) = parents_of(copy.runs())
    assert parent.info.status != "FINISHED"
    copy.run_here("pipelines.baseline", resume=parent.info.run_id)
    (resumed,) = parents_of(copy.runs())
    rounds = copy.children_of(resumed)
    assert [run.info.status for run in (resumed, *rounds)] == ["FINISHED"] * 3
    assert metrics_of(resumed) == metrics_of(project.client.get_run(finished))


def test_compare_names_two_baselines_by_the_settings_in_which_they_differ(project, finished):
    other = project.opened(project.run_here("pipelines.baseline", **GIVEN, C="0.01")).info.run_id
    output = project.run_here("pipelines.compare", runs=f"{finished},{other}")
    assert ", C 0.01** against **" in output
    assert ", C 1.0**" in output


def test_a_baseline_that_learned_nothing_is_not_advised_to_change_a_learning_rate(project):
    output = project.run_here("pipelines.baseline", **GIVEN, gamma="1e9", C="1e-9")
    assert f"2 of 2 rounds learned nothing: {WHAT_TO_TRY_IN_BASELINE}" in output
    assert WHAT_TO_TRY not in output
    parent = project.opened(output)
    described = [run.data.tags["mlflow.note.content"] for run in (parent, *project.children_of(parent))]
    assert all(WHAT_TO_TRY_IN_BASELINE in text and WHAT_TO_TRY not in text for text in described), described


def test_help_lists_what_a_baseline_has_and_a_networks_setting_is_refused_with_its_reason(project):
    shown = project.help_of("pipelines.baseline")
    assert all(f"--{name} " in shown for name in ("C", "gamma", "features", "rounds", "seed", "fold", "paths.cache", "launcher"))
    assert not [name for name in ("lr", "epochs", "freeze", "schedule", "precision", "train.workers") if f"--{name} " in shown]
    assert "lr=0.1 does not go with model=baseline" in project.refuse_here("pipelines.baseline", test_dataset="SAVEE", lr="0.1")
