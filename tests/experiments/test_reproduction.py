"""Entry point `reproduce`: a finished experiment run again from its record, and what stands in the way of it."""

import re
from pathlib import Path

import pytest
import torch

from ser_mlops.experiments.artifacts import CODE_FILE

pytestmark = pytest.mark.timeout(600)
GIVEN = {"test_dataset": "SAVEE", "model": "tiny", "epochs": "2", "rounds": "2", "batch_size": "8"}
THREADS = 1 + torch.get_num_threads()


@pytest.fixture(scope="module")
def run_id(project) -> str:
    """The id of a finished experiment, made with settings that are not those of params.yaml, and with everything committed."""
    project.commit("what the stages made")
    return project.opened(project.fork("pipelines.train", GIVEN, threads=THREADS).finish()).info.run_id


def test_a_finished_experiment_is_reproduced_bit_for_bit_as_a_run_linked_to_it(project, run_id):
    output = project.fork("pipelines.reproduce", {"run_id": run_id}).finish()
    again = project.opened(output)
    assert f"reproduction of {run_id} as {again.info.run_id}: equal: every metric, bit for bit" in output
    assert again.data.tags["reproduces"] == run_id
    assert again.data.tags["reproduction"] == "equal: every metric, bit for bit"
    assert f"note: computed in as many threads as the run was ({THREADS}), instead of " in output
    assert [child.data.tags["threads"] for child in project.children_of(again)] == 2 * [str(THREADS)]


def test_a_number_that_is_not_equal_is_named(project, run_id, tmp_path):
    (child, _) = project.children_of(project.client.get_run(run_id))
    project.client.log_metric(child.info.run_id, "val/uar", 2.0, step=2)
    printed = project.fork("pipelines.reproduce", {"run_id": run_id}).finish(1)
    (told,) = [line for line in printed.splitlines() if line.startswith("reproduction of ")]
    assert "differs: SAVEE fold 0 round 0: val/uar was [" in told


def test_a_changed_line_of_code_another_frame_and_another_package_are_named(project, run_id, tmp_path):
    """The record is changed, not what is there (a module that is changed: tests/test_main.py)."""
    tags = project.client.get_run(run_id).data.tags
    frame = tags["dvc.SAVEE"]
    written = {
        name: Path(project.client.download_artifacts(run_id, name)).read_text(encoding="utf-8") for name in ("environment.txt", CODE_FILE)
    }
    others = {
        "environment.txt": written["environment.txt"].replace("numpy==", "numpy==0."),
        CODE_FILE: re.sub(r"^\w+(?=.*seeds\.py$)", "0" * 64, written[CODE_FILE], flags=re.MULTILINE),
    }

    def record(files: dict[str, str], **changed: str) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
            project.client.log_artifact(run_id, str(tmp_path / name))
        for name, value in changed.items():
            project.client.set_tag(run_id, name, value)

    record(others, **{"dvc.SAVEE": "0" * 32, "code": "0" * 64})
    line = project.refuse_here("pipelines.reproduce", run_id=run_id)
    record(written, **{"dvc.SAVEE": frame, "code": tags["code"]})

    assert line.startswith(f"error: run {run_id} cannot be reproduced here: the code is not that of the run (commit ")
    assert "): seeds.py of ser_mlops; " in line
    assert f"; frame of SAVEE was {'0' * 32}, is {frame}; numpy was 0." in line
    assert line.endswith(" (force=true reruns it anyway)")


def test_a_changed_byte_of_a_frame_is_named(project, run_id):
    frame = project.root / "data/frames/SAVEE.parquet"
    content = frame.read_bytes()
    frame.unlink()  # DVC links it to its cache, which must stay as it is
    frame.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    line = project.refuse_here("pipelines.reproduce", run_id=run_id)
    frame.write_bytes(content)
    assert line == "error: frame of SAVEE is stale: data/frames/SAVEE.parquet is not the one of dvc.lock, run `dvc repro`"


def test_another_machine_is_named(project, run_id):
    (child, _) = project.children_of(project.client.get_run(run_id))
    others = {"threads": "1", "processes": "2", "gpu": "NVIDIA H200"}
    for name, value in others.items():
        project.client.set_tag(child.info.run_id, name, value)
    line = project.refuse_here("pipelines.reproduce", run_id=run_id)
    for name in others:
        project.client.set_tag(child.info.run_id, name, child.data.tags[name])
    assert "gpu of a round: NVIDIA H200 or none, here none; " in line
    assert "processes of a round: 1 or 2, here 1 (torchrun --nproc-per-node N -m pipelines.reproduce); " in line
    assert f"rounds were computed in 1 or {THREADS} threads (force=true" in line


def test_a_sweep_is_not_reproduced_as_if_it_were_an_experiment(project, run_id):
    project.client.set_tag(run_id, "study", "s")
    line = project.refuse_here("pipelines.reproduce", run_id=run_id)
    project.client.delete_tag(run_id, "study")
    assert line == f"error: run {run_id} is a sweep, expected an experiment: run the same sweep under another name (study) instead"


def test_only_a_finished_experiment_is_reproduced(project, run_id):
    (child, _) = project.children_of(project.client.get_run(run_id))
    assert project.refuse_here("pipelines.reproduce", run_id=child.info.run_id) == (
        f"error: run {child.info.run_id} is one round of experiment {run_id}: reproduce that experiment"
    )
    assert project.refuse_here("pipelines.reproduce", run_id="nonsense").startswith("error: no run 'nonsense' in sqlite:")
