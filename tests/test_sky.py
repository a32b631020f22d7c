"""SkyPilot's own schema accepts the tasks of examples/sky; where SkyPilot is not installed, what they run is checked all the same."""

import re

import pytest
from ruamel.yaml import YAML

from tests.project import ROOT

TASKS = sorted((ROOT / "examples/sky").glob("*.yaml"))


@pytest.fixture(params=TASKS, ids=lambda path: path.stem)
def task(request) -> dict:
    return YAML(typ="safe", pure=True).load(request.param)  # the reader in C, where there is one, refuses L4:1 in a list


def test_a_task_fits_the_schema(task):
    schemas = pytest.importorskip("sky.utils.schemas", reason="skypilot is not installed; its dependencies contradict the lock")
    import jsonschema

    jsonschema.validate(task, schemas.get_task_schema())


def test_a_task_gets_data_before_it_trains_and_records_where_it_outlives_the_machine(task):
    assert [line for line in task["setup"].splitlines() if "dvc" in line][-1].endswith("dvc pull")
    (training,) = [line for line in task["run"].splitlines() if line.startswith("mlflow run . ")]
    assert training.endswith(" $SETTINGS")
    asked = {name for part in ("envs", "secrets") for name, value in task[part].items() if value is None}
    assert {"DVC_REMOTE", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD"} <= asked
    assert set(re.findall(r"\$(\w+)", task["setup"] + task["run"])) <= {*task["envs"], *task["secrets"]}


def test_the_settings_of_a_task_exist(task, project):
    words = f"{task['run']} {task['envs']['SETTINGS']}"
    names = re.findall(r"-P (\w+)=", words)
    assert names
    told = project.help_of("pipelines.train")
    assert set(names) <= set(re.findall(r"^  --([\w.]+)", told, re.MULTILINE))
