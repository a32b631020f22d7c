"""What is freed is what was named and what the listing showed; what the registry holds or a running experiment needs stays."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from ser_mlops.errors import ModelError, SettingsError, TrackingError
from ser_mlops.experiments.disk import free, keep_models, listing, losses
from ser_mlops.serving.champion import fetched, register_best
from ser_mlops.settings.sections import PathsSettings
from ser_mlops.tracking.disk import bytes_on_disk
from ser_mlops.tracking.store import children_of, open_store
from tests.tracking.builders import copy_store, in_store, log_experiment

PATHS = PathsSettings(checkpoints="checkpoints", cache="cache", studies="studies")


@pytest.fixture
def store(fresh_database, tmp_path) -> Iterator[mlflow.MlflowClient]:
    copy_store(fresh_database, tmp_path)
    with in_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path):
        yield open_store()


@pytest.fixture
def experiment(store) -> str:
    """A finished experiment of three rounds, of which validation likes the second best."""
    parent_id = log_experiment(Path("outbox"))
    store.log_param(parent_id, "train.select_by", "uar")
    for run, score in zip(children_of(store, store.get_run(parent_id)), (0.2, 0.9, 0.4), strict=True):
        store.log_metric(run.info.run_id, "best/val_uar", score)
    return parent_id


def rounds_with_model(store, parent_id: str) -> list[int]:
    """Rounds whose model MLflow lists and whose files are on disk."""
    found = []
    for number, run in enumerate(children_of(store, store.get_run(parent_id))):
        models = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        found += [number for model in models if (Path(model.artifact_location) / "MLmodel").is_file()]
    return found


def test_the_best_round_keeps_its_model_and_the_others_everything_else(store, experiment) -> None:
    artifacts = {run.info.run_id: store.list_artifacts(run.info.run_id) for run in children_of(store, store.get_run(experiment))}
    before = bytes_on_disk([Path("mlruns")])
    (loss,) = losses([f"models:{experiment}"], "best", PATHS)
    assert f"2 models of {experiment}" in loss.text
    assert "A round 1 stays: validation likes it best" in loss.text
    assert rounds_with_model(store, experiment) == [0, 1, 2], "asking frees nothing"
    assert free([loss]) == before - bytes_on_disk([Path("mlruns")]) == loss.num_bytes > 0
    assert rounds_with_model(store, experiment) == [1]
    assert artifacts == {run: store.list_artifacts(run) for run in artifacts}
    assert losses([f"models:{experiment}"], "best", PATHS)[0].num_bytes == 0


@pytest.mark.parametrize(("keep", "left"), [("best", [1]), ("none", [])])
def test_an_experiment_that_ends_keeps_what_its_setting_says(store, experiment, keep, left) -> None:
    said = keep_models(experiment, keep)
    assert said.startswith(f"keep={keep}: freed {3 - len(left)} models of {experiment}")
    assert rounds_with_model(store, experiment) == left


def test_a_registered_model_survives_the_end_of_its_experiment(store, experiment) -> None:
    register_best(experiment, "ser", seed=1, resamples=500)
    assert "A round 1 stays: the registry holds it (ser version 1)" in keep_models(experiment, "none")
    assert rounds_with_model(store, experiment) == [1]


def test_models_that_cannot_be_freed_fail_no_experiment(store) -> None:
    assert "keep=best: models stay, as no run 'gone'" in keep_models("gone", "best")


def test_a_freed_model_is_named_when_it_is_asked_for(store, experiment) -> None:
    free(losses([f"models:{experiment}"], "none", PATHS))
    freed = children_of(store, store.get_run(experiment))[1].info.run_id
    for ask in (lambda: fetched(experiment).__enter__(), lambda: register_best(experiment, "ser", seed=1, resamples=500)):
        with pytest.raises(ModelError, match=f"the model of run {freed} was freed on .*reproduce"):
            ask()


def test_a_registered_model_survives_every_option(store, experiment) -> None:
    register_best(experiment, "ser", seed=1, resamples=500)
    (loss,) = losses([f"models:{experiment}"], "none", PATHS)
    assert "A round 1 stays: the registry holds it (ser version 1)" in loss.text
    free([loss, *losses([f"checkpoints:{experiment}"], "none", PATHS)])
    assert rounds_with_model(store, experiment) == [1]
    for run in children_of(store, store.get_run(experiment)):
        store.delete_run(run.info.run_id)
    (deleted,) = losses(["deleted"], "none", PATHS)
    assert "2 deleted runs" in deleted.text
    assert "1 deleted run kept" in deleted.text
    free([deleted])
    version = store.get_model_version_by_alias("ser", "champion")
    assert (Path(mlflow.artifacts.download_artifacts(f"models:/ser/{version.version}")) / "MLmodel").is_file()
    assert losses(["deleted"], "none", PATHS)[0].deleted == ()


def test_a_model_that_was_deleted_in_mlflow_by_itself_survives_where_the_registry_holds_it(store, experiment) -> None:
    register_best(experiment, "ser", seed=1, resamples=500)
    (version,) = store.search_model_versions("name = 'ser'")
    store.delete_logged_model(version.source.removeprefix("models:/"))
    store.delete_run(children_of(store, store.get_run(experiment))[0].info.run_id)
    with pytest.raises(TrackingError, match=r"the model of ser version 1 \(m-.*\) was deleted in MLflow, .*: delete that version first"):
        losses(["deleted"], "none", PATHS)
    assert (Path(mlflow.artifacts.download_artifacts("models:/ser/1")) / "MLmodel").is_file()


def test_a_version_that_names_the_files_alone_holds_them(store, experiment) -> None:
    run = children_of(store, store.get_run(experiment))[2]
    (model,) = store.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    store.create_registered_model("theirs")
    store.create_model_version("theirs", model.artifact_location)
    assert "A round 2 stays: the registry holds it (theirs version 1)" in losses([f"models:{experiment}"], "none", PATHS)[0].text


def test_a_running_experiment_survives_every_option(store, experiment) -> None:
    state = Path("checkpoints") / experiment / "A_round_0" / "last.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"state")
    store.update_run(children_of(store, store.get_run(experiment))[0].info.run_id, status="RUNNING")
    for name in (f"models:{experiment}", f"checkpoints:{experiment}"):
        with pytest.raises(TrackingError, match=f"run {experiment} is running"):
            losses([name], "none", PATHS)
    free(losses(["deleted"], "none", PATHS))
    assert rounds_with_model(store, experiment) == [0, 1, 2]
    assert state.exists()


def test_freeing_the_states_of_a_resumable_experiment_says_what_is_lost(store, experiment) -> None:
    state = Path("checkpoints") / experiment / "A_round_0" / "last.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"state")
    store.update_run(experiment, status="KILLED")
    assert f"{experiment}  KILLED" in listing(PATHS)
    assert "(3)" in listing(PATHS)
    (loss,) = losses([f"checkpoints:{experiment}"], "none", PATHS)
    assert "a resume trains its unfinished rounds from the beginning" in loss.text
    free([loss])
    assert not state.exists()
    assert rounds_with_model(store, experiment) == [0, 1, 2]


def test_what_cannot_be_freed_is_refused(store, experiment) -> None:
    child = children_of(store, store.get_run(experiment))[0].info.run_id
    for name, error, said in (
        ("cache", SettingsError, "unknown thing to free 'cache', expected one of: models:RUN_ID"),
        ("models", SettingsError, "models: expected models:RUN_ID"),
        ("models:nothing", TrackingError, "no run 'nothing'"),
        (f"models:{child}", TrackingError, f"is one round of experiment {experiment}"),
    ):
        with pytest.raises(error, match=said):
            losses([name], "none", PATHS)
