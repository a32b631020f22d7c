"""The run that `mlflow run` opens: the user's name for it leads, and it says why a call was refused."""

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.utils.name_utils import _generate_random_name

from ser_mlops.errors import SettingsError, TrackingError
from ser_mlops.tracking.address import StoreError
from ser_mlops.tracking.command import run_tracked_command
from ser_mlops.tracking.opened_run import is_chosen
from ser_mlops.tracking.store import EXPERIMENT, open_store
from tests.tracking.builders import NOTE, in_store, log_experiment


def open_run(client: mlflow.MlflowClient, patch: pytest.MonkeyPatch, name: str | None = None, experiment: str = EXPERIMENT) -> str:
    """Open a run as `mlflow run` does before it starts a command; return its id."""
    found = client.get_experiment_by_name(experiment)
    run = client.create_run(found.experiment_id, run_name=name)
    patch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    patch.setenv("MLFLOW_EXPERIMENT_ID", found.experiment_id)
    return run.info.run_id


def run(client: mlflow.MlflowClient, run_id: str, failure: Exception | None) -> Run:
    """Run a command that fails, or does nothing, for an opened run; return that run."""

    def command() -> None:
        if failure is not None:
            raise failure

    with pytest.raises(SystemExit if failure is None or isinstance(failure, SettingsError | TrackingError) else type(failure)):
        run_tracked_command("compare", command)
    return client.get_run(run_id)


def test_names_that_mlflow_makes_up_are_not_the_users():
    assert not any(is_chosen(_generate_random_name()) for _ in range(500))
    assert all(map(is_chosen, ("baseline for table 2", "lr-3", "big-model-2", "calm-neutral-1", "")))


@pytest.mark.parametrize("failure", [SettingsError("unknown parameter 'rns'"), TrackingError("no run 'x'")])
def test_a_refused_call_says_why(store, monkeypatch, failure):
    refused = run(store, open_run(store, monkeypatch), failure)
    assert (refused.info.run_name, refused.data.tags["kind"]) == ("compare (refused)", "refused")
    assert refused.data.tags[NOTE] == f"Failed: {failure}"


def test_a_call_that_fails_says_why(store, monkeypatch):
    failed = run(store, open_run(store, monkeypatch), ZeroDivisionError("division by zero"))
    assert (failed.info.run_name, failed.data.tags[NOTE]) == ("compare (failed)", "Failed: ZeroDivisionError: division by zero")


def test_a_refused_call_keeps_the_name_that_the_user_gave_it(store, monkeypatch):
    refused = run(store, open_run(store, monkeypatch, "baseline for table 2"), SettingsError("no"))
    assert (refused.info.run_name, refused.data.tags["title"]) == ("baseline for table 2", "compare (refused)")


def test_a_call_that_logs_nothing_is_named_after_its_command(store, monkeypatch):
    done = run(store, open_run(store, monkeypatch), None)
    assert (done.info.run_name, done.data.tags["kind"], NOTE in done.data.tags) == ("compare", "compare", False)


def test_a_store_that_cannot_be_used_is_not_asked_again(store, monkeypatch):
    assert "kind" not in run(store, open_run(store, monkeypatch), StoreError("away")).data.tags


def test_the_users_name_leads_and_ours_is_a_tag(store, monkeypatch, tmp_path):
    opened = open_run(store, monkeypatch, "baseline for table 2")
    assert log_experiment(tmp_path / "outbox") == opened
    parent = store.get_run(opened)
    assert (parent.info.run_name, parent.data.tags["title"]) == ("baseline for table 2", "indep A tiny")


def test_a_name_that_mlflow_made_up_gives_way_to_ours(store, monkeypatch, tmp_path):
    opened = open_run(store, monkeypatch)
    log_experiment(tmp_path / "outbox")
    assert store.get_run(opened).info.run_name == "indep A tiny"


def test_runs_go_to_the_experiment_that_the_user_names(store, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "paper")
    run_id = log_experiment(tmp_path / "outbox")
    paper = store.get_experiment_by_name("paper")
    assert store.get_run(run_id).info.experiment_id == paper.experiment_id
    assert "mlflow.sharedViewState.scores" in paper.tags
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    opened = open_run(store, monkeypatch, experiment="paper")  # mlflow run --experiment-name paper
    log_experiment(tmp_path / "outbox")
    assert store.get_run(opened).info.experiment_id == paper.experiment_id


def test_a_deleted_experiment_is_refused_with_its_remedies(store, monkeypatch, tmp_path):
    experiment_id = store.get_experiment_by_name(EXPERIMENT).experiment_id
    store.delete_experiment(experiment_id)
    remedy = f"the experiment 'ser' was deleted in MLflow: restore it with `mlflow experiments restore --experiment-id {experiment_id}`"
    with pytest.raises(StoreError, match=remedy):
        open_store()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    run_id = log_experiment(tmp_path / "outbox")
    assert store.get_run(run_id).info.experiment_id == store.get_experiment_by_name("other").experiment_id


def test_a_fresh_store_gets_the_experiment_that_the_user_names(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "paper")
    with in_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path):
        names = {experiment.name for experiment in open_store().search_experiments()}
    assert names == {"Default", "paper"}
