"""The best round is the one that validation likes best, and it takes the alias only if it beats the champion on the same clips."""

import re
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from ser_mlops.errors import ModelError, TrackingError
from ser_mlops.models.build import load_classifier
from ser_mlops.serving.champion import best_round, fetched, limits_of, register_best
from ser_mlops.serving.predictor import NETWORK_FOLDER, Predictor, Terms, save_model_folder
from ser_mlops.serving.pyfunc import Limits, save_pyfunc
from ser_mlops.tracking.notebook import Planned, open_notebook
from ser_mlops.tracking.outbox import Pace
from ser_mlops.tracking.store import PREDICTIONS_FOLDER, children_of, find_run, open_store
from tests.builders import tiny_predictions
from tests.tracking.builders import copy_store, in_store

NOTE = "mlflow.note.content"
LIMITS = {"max_clips": 2, "max_seconds": 10.0, "max_megabytes": 1.0}


@pytest.fixture(scope="module")
def store(fresh_database, tmp_path_factory) -> Iterator[mlflow.MlflowClient]:
    """An embedded store; every test registers under a name of its own."""
    folder = tmp_path_factory.mktemp("store")
    copy_store(fresh_database, folder)
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        yield open_store()


@pytest.fixture
def name(request) -> str:
    return request.node.name[:60]


def experiment(
    skills: list[float],
    validation: list[float] | None = None,
    *,
    score: str = "uar",
    frame: str = "f" * 32,
    corpus: str = "CREMA",
    seed: int = 1,
    speakers: int = 8,
) -> str:
    """Record an experiment with one round per skill; return the parent."""
    keys = [f"A round {round}" for round in range(len(skills))]
    planned = [Planned(key, key, {"round": str(round), f"dvc.{corpus}": frame}) for round, key in enumerate(keys)]
    with open_notebook(name="A", tags={"data": "synthetic"}, planned=planned, folder=Path("outbox"), pace=Pace(0.05)) as notebook:
        notebook.parent.params({"train.select_by": score})
        notebook.parent.describe("the table of rounds")
        for round, skill in enumerate(skills):
            with notebook.child(f"A round {round}") as run:
                run.metrics({f"best/val_{score}": (validation or skills)[round]})
                table = tiny_predictions(skill, seed=seed + round, speakers=speakers)
                table = table.assign(corpus=corpus, path=table["path"].str.replace("CREMA", corpus))
                with run.artifact(f"test_{corpus}.parquet", PREDICTIONS_FOLDER) as path:
                    table.to_parquet(path)
                with run.model("model") as folder:
                    classifier = load_classifier("tiny", seed=round)
                    save_pyfunc(folder, LIMITS, classifier)
                    save_model_folder(classifier, folder / NETWORK_FOLDER, Terms(30.0, 0.1, "synthetic data"))
    return notebook.parent.run_id


def register(parent_id: str, name: str) -> str:
    return register_best(parent_id, name, seed=1, resamples=500)


def champion(store: mlflow.MlflowClient, name: str) -> str:
    return str(store.get_model_version_by_alias(name, "champion").version)


# The gate


def test_the_first_model_is_champion(store, name):
    summary = register(experiment([1.0]), name)
    assert summary == f"{name} version 1, now champion: there was no champion"
    assert champion(store, name) == "1"


def test_a_worse_model_does_not_take_the_alias_and_a_better_one_does(store, name):
    register(experiment([1.0]), name)
    worse = register(experiment([0.0], seed=5), name)
    assert worse.startswith(f"{name} version 2, not made champion: does not beat the champion, version 1: UAR −")
    assert champion(store, name) == "1"
    better = register(experiment([3.0], seed=9), name)
    assert better.startswith(f"{name} version 3, now champion: beats the champion, version 1: UAR +")
    assert champion(store, name) == "3"


def test_a_model_that_is_no_better_does_not_take_the_alias(store, name):
    register(experiment([1.0], seed=1), name)
    assert "does not beat the champion" in register(experiment([1.0], seed=2), name)
    assert champion(store, name) == "1"


def test_with_too_few_speakers_in_common_the_champion_stays_and_the_reason_says_how_many_are_needed(store, name):
    register(experiment([0.0], speakers=5), name)
    summary = register(experiment([3.0], seed=5, speakers=5), name)
    assert summary.startswith(f"{name} version 2, not made champion: not shown to beat the champion, version 1: UAR +")
    assert (
        "nothing can be claimed with 5 speakers: 6 are needed (to test more, use another corpus, or `fold=all` where one fold is held out)"
        in summary
    )
    assert champion(store, name) == "1"


def test_the_reason_stands_on_the_version_and_on_the_experiment(store, name):
    for skill in (1.0, 0.0):
        parent_id = experiment([skill])
        summary = register(parent_id, name)
        version = store.get_model_version(name, summary.removeprefix(f"{name} version ")[0])
        parent = store.get_run(parent_id)
        assert version.description == summary
        assert version.tags["gate"] == ("champion" if skill else "not champion")
        assert summary.endswith(version.tags["gate.reason"])
        assert parent.data.tags["registered"] == summary
        assert parent.data.tags[NOTE] == f"the table of rounds\n{summary}\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frame": "e" * 32}, "the frames of CREMA are not those of the champion, version 1"),
        ({"corpus": "TESS"}, "no clip was tested by both it and the champion, version 1"),
    ],
)
def test_what_cannot_be_compared_does_not_take_the_alias(store, name, changes, reason):
    register(experiment([0.0]), name)
    assert register(experiment([3.0], **changes), name).endswith(reason)
    assert champion(store, name) == "1"


def test_a_champion_whose_run_is_gone_keeps_the_alias_and_the_reason_says_so(store, name):
    parent_id = experiment([0.0])
    register(parent_id, name)
    store.delete_run(best_round(store, find_run(store, parent_id)).info.run_id)
    assert "cannot be compared: run" in register(experiment([3.0]), name)


def test_registering_again_makes_no_second_version(store, name):
    parent_id = experiment([1.0])
    register(parent_id, name)
    assert register(parent_id, name) == f"{name} version 1: it already is the champion"
    (version,) = store.search_model_versions(f"name = '{name}'")
    assert (version.tags["gate"], version.tags["gate.reason"]) == ("champion", "there was no champion")


def test_a_version_is_the_logged_model_of_its_round(store, name):
    parent_id = experiment([1.0])
    register(parent_id, name)
    best = best_round(store, find_run(store, parent_id))
    version = store.get_model_version(name, "1")
    assert (version.run_id, version.source) == (best.info.run_id, f"models:/{best.outputs.model_outputs[0].model_id}")


# The best round


def test_validation_chooses_the_round_and_not_the_test(store):
    parent = find_run(store, experiment([3.0, 1.0, 2.0], validation=[0.2, 0.6, 0.4]))
    assert best_round(store, parent).data.tags["round"] == "1"


def test_a_lower_loss_is_better_and_the_earliest_of_equals_is_taken(store):
    parent = find_run(store, experiment([1.0] * 3, validation=[0.9, 0.5, 0.5], score="loss"))
    assert best_round(store, parent).data.tags["round"] == "1"


def test_an_experiment_without_a_finished_round_has_no_model(store):
    with pytest.raises(TrackingError, match="holds no model"):
        register(experiment([]), "nothing")


# A model by its URI


def test_a_model_is_found_by_alias_version_round_experiment_and_folder(store, name, tmp_path):
    parent_id = experiment([1.0, 2.0])
    register(parent_id, name)
    rounds = {run.data.tags["round"]: run.info.run_id for run in children_of(store, find_run(store, parent_id))}
    weights = {}
    for uri in (f"models:/{name}@champion", f"models:/{name}/1", parent_id, rounds["0"], rounds["1"]):
        with fetched(uri) as folder:
            weights[uri] = (folder / "model.safetensors").read_bytes()
            assert Predictor.open(folder).terms.note == "synthetic data"
    assert weights[parent_id] == weights[rounds["1"]] == weights[f"models:/{name}@champion"] == weights[f"models:/{name}/1"]
    assert weights[rounds["0"]] != weights[parent_id]


def test_a_folder_is_a_logged_model_or_the_weights_in_it(tmp_path):
    save_model_folder(load_classifier("tiny", seed=1), tmp_path / NETWORK_FOLDER, Terms(30.0, 0.1, ""))
    for place in (tmp_path, tmp_path / NETWORK_FOLDER):
        with fetched(str(place)) as folder:
            assert folder == tmp_path / NETWORK_FOLDER


def test_a_model_that_is_fetched_leaves_nothing_behind(store, name):
    register(experiment([1.0]), name)
    with fetched(f"models:/{name}@champion") as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_what_a_request_may_ask_is_found_beside_the_weights(store, name, tmp_path):
    parent_id = experiment([1.0])
    register(parent_id, name)
    for uri in (f"models:/{name}@champion", parent_id):
        assert limits_of(uri) == Limits(**LIMITS)
    save_pyfunc(tmp_path / "model", LIMITS, load_classifier("tiny", seed=1))
    save_model_folder(load_classifier("tiny", seed=1), tmp_path / "model" / NETWORK_FOLDER, Terms(30.0, 0.1, ""))
    assert limits_of(str(tmp_path / "model")) == limits_of(str(tmp_path / "model" / NETWORK_FOLDER)) == Limits(**LIMITS)
    assert limits_of(str(tmp_path)) is None


@pytest.mark.parametrize("registered", [False, True])
def test_a_model_without_a_champion_says_how_to_come_by_one(store, name, registered):
    if registered:
        store.create_registered_model(name)
    with (
        pytest.raises(ModelError, match=rf"{re.escape(name)} has no champion in .*: register the best round .* -P register="),
        fetched(f"models:/{name}@champion"),
    ):
        pass


@pytest.mark.parametrize("uri", ["models:/nobody@best", "models:/nobody/1", "models:/m-0123456789"])
def test_a_model_that_is_none_is_named_with_what_would_be_accepted(store, uri):
    with pytest.raises(ModelError, match=r"expected models:/NAME@ALIAS, models:/NAME/VERSION, a run id or a folder"), fetched(uri):
        pass


def test_a_run_that_is_none_is_named(store):
    with pytest.raises(TrackingError, match="no run 'no-such-thing'"), fetched("no-such-thing"):
        pass
