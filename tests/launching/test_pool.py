"""Rounds side by side on this machine, in processes of their own: the numbers of a plain run."""

import pytest
from mlflow.entities import Run

from tests.project import Project, metrics_of, parents_of

pytestmark = pytest.mark.timeout(600)  # each process imports torch, on cores that other tests share
ROUNDS = {"test_dataset": "TESS", "model": "tiny", "freeze": "encoder", "epochs": "3", "rounds": "3", "lr": "3.0e-3"}


@pytest.fixture(scope="module")
def alone(project: Project) -> Run:
    """Three rounds in one process."""
    return project.opened(project.run_here("pipelines.train", **ROUNDS))


@pytest.fixture(scope="module")
def side_by_side(project: Project) -> tuple[Run, str]:
    """The same rounds in a process each, and what was printed."""
    output = project.fork("pipelines.train", ROUNDS | {"parallel": "3"}).finish()
    return project.opened(output), output


def curves_of(project: Project, run: Run) -> dict[str, list[tuple[int, float]]]:
    names = ("train/loss", "val/uar", "val/loss", "lr")
    histories = {name: project.client.get_metric_history(run.info.run_id, name) for name in names}
    return {name: [(point.step, point.value) for point in history] for name, history in histories.items()}


def test_rounds_side_by_side_have_the_numbers_of_a_plain_run(project, alone, side_by_side):
    parent, output = side_by_side
    assert "TESS fold 0      2" in output, "no table of rounds"
    assert metrics_of(parent) == metrics_of(alone)
    rounds = project.children_of(parent)
    assert [run.info.status for run in (parent, *rounds)] == ["FINISHED"] * 4
    for ours, theirs in zip(rounds, project.children_of(alone), strict=True):
        assert metrics_of(ours) == metrics_of(theirs)
        assert curves_of(project, ours) == curves_of(project, theirs)


def test_rounds_that_fail_side_by_side_fail_the_experiment_with_their_reasons(project, tmp_path):
    copy = project.copy(tmp_path / "project")
    given = ROUNDS | {"rounds": "2", "parallel": "2"}
    output = copy.fork("pipelines.train", given | {"lr": "1.0e38"}).finish(2)
    assert "Traceback" not in output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert errors[-1].startswith("error: 2 of 2 rounds failed: TESS fold 0 round 0: the lo"), (
        "the command itself says why, after its rounds"
    )
    (parent,) = parents_of(copy.runs())
    assert [run.info.status for run in (parent, *copy.children_of(parent))] == ["FAILED"] * 3
    assert parent.data.tags["mlflow.note.content"].endswith(f"(resume={parent.info.run_id} runs what is not finished)")


@pytest.mark.parametrize(
    ("given", "variables", "message"),
    [
        ({"parallel": "2", "launcher": "slurm"}, {}, "parallel=2 needs launcher=local; with launcher=slurm set at_once"),
        ({"parallel": "2"}, {"WORLD_SIZE": "2"}, "parallel=2 does not go with torchrun, whose processes train one round together"),
        ({"detach": "true"}, {}, "detach=true needs launcher=slurm: the processes of launcher=local end with the command"),
    ],
)
def test_what_cannot_run_side_by_side_is_refused(project, given, variables, message):
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project.root}/mlflow.db"}
    code, _, errors = project.call("pipelines.train", ROUNDS | given, store | variables)
    assert (code, errors) == (2, f"error: {message}\n")
