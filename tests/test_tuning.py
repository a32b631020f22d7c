"""Ways to train beyond the defaults, as a researcher gives them: killed once and resumed, each ends as if nothing had happened."""

import signal
from collections.abc import Mapping

import pytest
import torch
from mlflow.entities import Run

from tests.models.builders import write_checkpoint
from tests.processes import Signal
from tests.project import Project, content_of, parents_of

pytestmark = pytest.mark.timeout(600)
BRIEF = {"test_dataset": "SAVEE", "epochs": "3", "rounds": "1", "checkpoint_every": "1"}
WAYS = {
    "all layers": {"model": "WavLM-base+", "freeze": "encoder", "layers": "all", "feature_norm": "corpus", "lr": "1e-2"},
    "frozen layers": {"model": "Whisper-small", "freeze": "encoder:1"},
    "adapters": {"model": "W2V-BERT", "freeze": "feature_encoder", "adapter": "lora", "lora_dropout": "0.1", "lr": "1e-3"},
    "a recipe": {"model": "HuB-base", "recipe": "strong", "batch_size": "2", "head_lr": "1e-3"},
}
"""The models are tiny stand-ins for these, with dropout and layerdrop at work."""
SPACE = "{layers: {choices: [checkpoint, last, all]}, head_lr: {choices: [null, 1.0e-3]}, adapter: {choices: [none, lora]}}"
SWEEP = {
    "model": "tiny",
    "freeze": "feature_encoder",
    "adapter": "lora",
    "trials": "3",
    "startup_trials": "2",
    "space": SPACE,
    "epochs": "2",
}


@pytest.fixture(scope="module")
def folders(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A project in which nothing is disturbed, and one for what is killed."""
    torch.set_num_threads(1)  # as commands of their own have
    return project, project.copy(tmp_path_factory.mktemp("killed") / "project")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Alias -> the folder of its stand-in; the one for Whisper hears 2 s."""
    folder = tmp_path_factory.mktemp("models")
    longer = {"Whisper-small": {"max_source_positions": 100}}
    return {way["model"]: str(write_checkpoint(folder / name, way["model"], **longer.get(way["model"], {}))) for name, way in WAYS.items()}


def kill_once(project: Project, module: str, given: Mapping[str, str], state: str) -> Run:
    """Start a command, kill it when it has written a file of its training, and return its run."""
    written = Signal(signal.SIGKILL, "ser_mlops.training.checkpoints", "_write", state)
    project.fork(module, given, disturbance=written).finish(-signal.SIGKILL)
    return parents_of(project.runs())[0]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_training_that_was_killed_and_resumed_ends_as_the_undisturbed_one(
    folders: tuple[Project, Project], models: dict[str, str], way: dict[str, str]
) -> None:
    calm, disturbed = folders
    given = BRIEF | way | {"model": models[way["model"]]}
    undisturbed = calm.opened(calm.run_here("pipelines.train", **given))
    killed = kill_once(disturbed, "pipelines.train", given, "last.safetensors")
    resumed = disturbed.opened(disturbed.run_here("pipelines.train", resume=killed.info.run_id))
    assert resumed.info.run_id == killed.info.run_id
    assert resumed.info.status == "FINISHED"
    content = content_of(disturbed, resumed)
    assert content == content_of(calm, undisturbed)
    assert {"train/loss", "test/uar", "predictions/test_SAVEE.parquet"} <= content["SAVEE fold 0 round 0"].keys()


def test_a_sweep_over_layers_head_lr_and_adapter_that_was_killed_ends_as_the_undisturbed_one(folders: tuple[Project, Project]) -> None:
    calm, disturbed = folders
    given = BRIEF | SWEEP
    undisturbed = calm.opened(calm.run_here("pipelines.sweep", **given))
    killed = kill_once(disturbed, "pipelines.sweep", given, "/trial-1/round-0/last.safetensors")
    resumed = disturbed.opened(disturbed.run_here("pipelines.sweep", **given))
    assert resumed.info.run_id == killed.info.run_id
    assert content_of(disturbed, resumed) == content_of(calm, undisturbed)
    trials = [run.data.params for run in disturbed.runs() if run.info.run_name.startswith("trial")]
    for name, values in {"adapter": {"lora", "none"}, "layers": {"checkpoint", "all"}, "head_lr": {"None", "0.001"}}.items():
        assert {params[f"train.{name}"] for params in trials} >= values
