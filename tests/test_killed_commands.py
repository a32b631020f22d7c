"""`mlflow run .` with stand-ins for four families: killed in its second round and resumed, it ends as if nothing had happened."""

import time
from collections.abc import Sequence

import psutil
import pytest
import torch
from mlflow.entities import Run

from tests.models.builders import write_checkpoint
from tests.project import Project, content_of, mlflow_run, parents_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ALIASES = {
    "hubert": ("HuB-base", {}),
    "wavlm": ("WavLM-base+", {}),
    "wav2vec2-bert": ("W2V-BERT", {}),
    "whisper": ("Whisper-small", {"max_source_positions": 100}),  # hears 2 s
}
BRIEF = {"test_dataset": "SAVEE", "epochs": "3", "rounds": "2", "checkpoint_every": "1"}
WAYS = {
    "layers=all freeze=encoder": {"layers": "all", "freeze": "encoder", "lr": "1e-2"},
    "freeze=encoder:1": {"freeze": "encoder:1", "lr": "1e-3"},
    "adapter=lora": {"adapter": "lora", "lr": "1e-3"},
    "recipe=strong": {"recipe": "strong"},
}
SPACE = "{layers: {choices: [checkpoint, last, all]}, head_lr: {choices: [null, 1.0e-3]}, adapter: {choices: [none, lora]}}"
SWEEP = {"freeze": "feature_encoder", "adapter": "lora", "trials": "4", "startup_trials": "2", "space": SPACE, "epochs": "2", "lr": "1e-3"}


@pytest.fixture(scope="module")
def folders(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A project in which nothing is disturbed, and one for what is killed."""
    torch.set_num_threads(1)  # as commands of their own have
    return project, project.copy(tmp_path_factory.mktemp("killed") / "project")


@pytest.fixture(scope="module", params=ALIASES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a stand-in, with dropout and layerdrop at work."""
    alias, changes = ALIASES[request.param]
    return str(write_checkpoint(tmp_path_factory.mktemp("model") / "stand-in", alias, **changes))


def kill_once(project: Project, command: Sequence[str], state: str) -> Run:
    """Start a command, kill it and what it started when a file of its training is there, and return its run."""
    before = set(project.root.glob(state))
    process = project.start(*command)
    while set(project.root.glob(state)) <= before and process.poll() is None:
        time.sleep(0.005)
    started = psutil.Process(process.pid)
    for one in (*started.children(recursive=True), started):
        one.kill()
    output, _ = process.communicate()
    assert process.returncode == -9, output
    return parents_of(project.runs())[0]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_killed_training_ends_as_the_undisturbed_one(folders: tuple[Project, Project], model: str, way: dict[str, str]) -> None:
    calm, disturbed = folders
    given = BRIEF | way | {"model": model}
    undisturbed = calm.opened(calm.run_here("pipelines.train", **given))
    killed = kill_once(disturbed, mlflow_run(**given), "checkpoints/*/SAVEE_fold_0_round_1/last.safetensors")
    assert killed.info.status == "RUNNING"
    resumed = disturbed.opened(disturbed.run(*mlflow_run(resume=killed.info.run_id)))
    assert (resumed.info.run_id, resumed.info.status) == (killed.info.run_id, "FINISHED")
    content = content_of(disturbed, resumed)
    assert content == content_of(calm, undisturbed)
    for name in ("SAVEE fold 0 round 0", "SAVEE fold 0 round 1"):
        assert {"train/loss", "val/uar", "test/uar", "predictions/test_SAVEE.parquet"} <= content[name].keys()


def test_a_killed_sweep_ends_as_the_undisturbed_one(folders: tuple[Project, Project], model: str) -> None:
    calm, disturbed = folders
    given = BRIEF | SWEEP | {"model": model}
    undisturbed = calm.opened(calm.run_here("pipelines.sweep", **given))
    killed = kill_once(disturbed, mlflow_run("-e", "sweep", **given), "checkpoints/*/trial-1/round-1/last.safetensors")
    assert killed.info.status == "RUNNING"
    resumed = disturbed.opened(disturbed.run(*mlflow_run("-e", "sweep", **given)))
    assert (resumed.info.run_id, resumed.info.status) == (killed.info.run_id, "FINISHED")
    assert content_of(disturbed, resumed) == content_of(calm, undisturbed)
    trials = [run.data.params for run in disturbed.runs() if run.info.run_name.startswith("trial")]
    for name, values in {"adapter": {"lora", "none"}, "layers": {"checkpoint", "all"}, "head_lr": {"None", "0.001"}}.items():
        assert {params[f"train.{name}"] for params in trials} >= values
