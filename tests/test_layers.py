"""The house keeps its layers: a module imports its own layer and those above it in the table, and a tool is imported where it lives."""

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ser_mlops.tracking.imports import find_modules, import_closure, imports_of

ROOT = Path(__file__).parents[1]

ORDER = (
    "errors",
    "emotions",
    "files",
    "seeds",
    "settings",
    "commands",
    "scores",
    "data",
    "models",
    "training",
    "tracking",
    "serving",
    "experiments",
    "launching",
    "pipelines",
)
"""The packages and top modules; each may import itself and the ones before it. docs/architecture.md says what each is for."""

OWNERS = {
    "av": {"data.audio.media"},
    "gradio": {"serving.listen_page", "serving.local_page", "serving.page"},
    "matplotlib": {"scores.figures", "data.figures"},
    "mlflow": {"tracking", "serving", "pipelines.setup"},
    "onnxruntime": {"serving.onnx_export"},
    "openpyxl": {"data.corpora", "data.demo.scripts"},
    "opensmile": {"models.vectors"},
    "peft": {"models.adapters"},
    "optuna": {f"experiments.{name}" for name in ("hyperband", "study", "study_search", "study_storage", "study_workers")},
    "pydantic": {"settings", "tracking.archive"},
    "ruamel": {"settings", "data.lock"},
    "skops": {"models.baseline"},
    "sklearn": {"models.baseline", "models.probes"},
    "soundfile": {"data.audio"},
    "soxr": {"data.audio"},
    "transformers": {"models"},
}
"""Tools that only these modules and packages import, anywhere in them; `pipelines.setup` needs a private name of mlflow."""

ENGINE = ("models", "training")
ENGINE_NEEDS = {"torch", "torchaudio", "transformers", "numpy", "pandas", "sklearn", "scipy", "safetensors", "huggingface_hub", "tqdm"}
ENGINE_NEEDS |= {"peft", "threadpoolctl", "skops", "opensmile"}
"""torch, transformers, numpy, pandas and scikit-learn, and what comes with them; skops writes what scikit-learn fitted, peft
has the adapters, openSMILE is optional."""


MODULES = find_modules(ROOT)


def house_imports_of(name: str) -> set[str]:
    return {imported for imported in imports_of(MODULES[name], MODULES) if imported in MODULES}


def outside_imports_of(name: str) -> set[str]:
    roots = {imported.partition(".")[0] for imported in imports_of(MODULES[name], MODULES)}
    return roots - sys.stdlib_module_names - {"ser_mlops", "pipelines"}


def room_of(name: str) -> str:
    """The entry of ORDER that a module belongs to: `data` for ser_mlops.data.audio.decode."""
    parts = name.split(".")
    return parts[0] if parts[0] == "pipelines" else parts[1]


def is_within(name: str, places: set[str]) -> bool:
    """Whether a module is one of these places, or in one of them."""
    own = name.removeprefix("ser_mlops.")
    return any(own == place or own.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_its_own_room_and_those_before_it(name):
    rank = ORDER.index(room_of(name))
    too_far = sorted(imported for imported in house_imports_of(name) if ORDER.index(room_of(imported)) > rank)
    assert not too_far, f"{name} imports {', '.join(too_far)}, which come after {ORDER[rank]} in ORDER"


def test_no_module_imports_itself_through_others():
    graph = {name: house_imports_of(name) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("name", MODULES)
def test_a_tool_is_imported_only_where_it_lives(name):
    astray = {
        f"{tool} (expected in: {', '.join(sorted(OWNERS[tool]))})"
        for tool in outside_imports_of(name) & set(OWNERS)
        if not is_within(name, OWNERS[tool])
    }
    assert not astray, f"{name} imports {', '.join(sorted(astray))}"


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) in ENGINE])
def test_the_engine_runs_on_a_bare_machine(name):
    reached = import_closure([name], MODULES)
    needed = {outside for module in reached for outside in outside_imports_of(module)}
    assert needed <= ENGINE_NEEDS, f"{name} needs {', '.join(sorted(needed - ENGINE_NEEDS))} through {', '.join(reached)}"
