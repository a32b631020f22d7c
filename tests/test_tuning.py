"""Ways to train beyond the defaults, as a researcher gives them: killed once and resumed, each ends as if nothing had happened."""

import time
from collections.abc import Mapping

import pytest
import torch
from mlflow.entities import Run

from tests.project import Project, metrics_of, parents_of, train

pytestmark = pytest.mark.timeout(600)
BRIEF = {"test_dataset": "SAVEE", "model": "tiny", "epochs": "3", "rounds": "1", "checkpoint_every": "1"}
WAYS = {
    "all layers": {"freeze": "encoder", "layers": "all", "feature_norm": "corpus", "lr": "1e-2"},
    "frozen layers": {"freeze": "encoder:1"},
    "adapters": {"freeze": "feature_encoder", "adapter": "lora", "lora_dropout": "0.1", "lr": "1e-3"},
    "a recipe": {"recipe": "strong", "batch_size": "2", "head_lr": "1e-3"},
}
SPACE = "{layers: {choices: [checkpoint, last, all]}, head_lr: {choices: [null, 1.0e-3]}, adapter: {choices: [none, lora]}}"
SWEEP = {"freeze": "feature_encoder", "trials": "3", "startup_trials": "2", "space": SPACE, "epochs": "2"}


@pytest.fixture(scope="module")
def folders(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A project in which nothing is disturbed, and one for what is killed."""
    torch.set_num_threads(1)  # as commands of their own have
    return project, project.copy(tmp_path_factory.mktemp("killed") / "project")


def kill_once(project: Project, command: list[str], state: str) -> Run:
    """Start a command, kill it when a file of its training is there, and return its run."""
    before = set(project.root.glob(state))
    process = project.start(*command)
    deadline = time.monotonic() + 240
    while set(project.root.glob(state)) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    output, _ = process.communicate()
    assert process.returncode == -9, output
    return parents_of(project.runs())[0]


def numbers_of(project: Project, parent: Run) -> dict[str, Mapping[str, float]]:
    """Every number of an experiment's runs but for times, by what the run is of."""
    runs = [run for run in project.runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    names = [*(run.data.tags.get("training", run.info.run_name) for run in runs), "parent"]
    numbers = {name: metrics_of(run, "") for name, run in zip(names, [*runs, parent], strict=True)}
    timed = ("seconds", "system/")
    kept = {
        name: {key: value for key, value in metrics.items() if not any(part in key for part in timed)} for name, metrics in numbers.items()
    }
    return {name: metrics for name, metrics in kept.items() if metrics}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_training_that_was_killed_and_resumed_ends_as_the_undisturbed_one(folders: tuple[Project, Project], way: dict[str, str]) -> None:
    calm, disturbed = folders
    undisturbed = calm.opened(calm.run_here("pipelines.train", **BRIEF, **way))
    killed = kill_once(disturbed, [*train(**BRIEF, **way)], "checkpoints/*/*/last.safetensors")
    resumed = disturbed.opened(disturbed.run_here("pipelines.train", resume=killed.info.run_id))
    assert resumed.info.run_id == killed.info.run_id
    assert resumed.info.status == "FINISHED"
    numbers = numbers_of(disturbed, resumed)
    assert numbers == numbers_of(calm, undisturbed)
    assert any("test/uar" in metrics for metrics in numbers.values())


def test_a_sweep_over_layers_head_lr_and_adapter_that_was_killed_ends_as_the_undisturbed_one(folders: tuple[Project, Project]) -> None:
    calm, disturbed = folders
    given = BRIEF | SWEEP
    undisturbed = calm.opened(calm.run_here("pipelines.sweep", **given))
    command = [word.replace("pipelines.train", "pipelines.sweep") for word in train(**given)]
    killed = kill_once(disturbed, command, "checkpoints/*/trial-1/*/last.safetensors")
    resumed = disturbed.opened(disturbed.run_here("pipelines.sweep", **given))
    assert resumed.info.run_id == killed.info.run_id
    assert numbers_of(disturbed, resumed) == numbers_of(calm, undisturbed)
    tried = {run.data.params["train.adapter"] for run in disturbed.children_of(resumed)}
    assert tried <= {"none", "lora"}
