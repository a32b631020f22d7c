"""The house keeps its layers: a module imports its own layer and those above it in the table, and a tool is imported where it lives."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    "words": ("emotions", "errors", "files", "seeds"),
    "tables": ("frames", "metrics", "settings"),
    "sources": ("audio", "corpora", "demo", "importing", "lock", "quality", "splits"),
    "tensors": ("batching", "models"),
    "learning": ("features", "training"),
    "runs": ("experiment", "figures", "figures_data", "model_card", "prediction", "provenance", "report", "statistics"),
    "outside": ("comparing", "laboratory", "launching", "notes", "outbox", "predicting", "registry", "reproducing", "serving", "studies",
                "sweeping", "tracking", "try_page", "views"),
    "pipelines": ("pipelines",),
}
"""A module's layer follows from its file name, or that of its package; each layer may import its own and the ones before it."""

OWNERS = {
    "gradio": {"try_page"},
    "matplotlib": {"figures", "figures_data"},
    "mlflow": {"registry", "serving", "tracking", "pipelines.setup"},
    "openpyxl": {"corpora", "demo"},
    "optuna": {"studies"},
    "pydantic": {"settings"},
    "ruamel": {"lock", "settings"},
    "soundfile": {"audio"},
    "soxr": {"audio"},
    "transformers": {"models"},
}
"""Tools that only these modules import, anywhere in them; `pipelines.setup` needs a private name of mlflow."""

ENGINE = ("tensors", "learning")
ENGINE_NEEDS = {"torch", "torchaudio", "transformers", "numpy", "pandas", "sklearn", "scipy", "safetensors", "huggingface_hub", "tqdm"}
"""torch, transformers, numpy, pandas and scikit-learn, and what comes with them."""


def modules() -> dict[str, Path]:
    """Every module of the package and the commands, by dotted name."""
    files = [*ROOT.glob("ser_mlops/**/*.py"), *ROOT.glob("pipelines/*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(files) if path.name != "__init__.py"}


MODULES = modules()


def imports_of(name: str) -> set[str]:
    """Every module that one imports, at the top or in a function, but for those that only a type checker reads."""
    return set(_imported(ast.parse(MODULES[name].read_text(encoding="utf-8"))))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import of {node.module}, expected the whole name"
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in MODULES else str(node.module) for name in submodules)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def house_imports_of(name: str) -> set[str]:
    return {imported for imported in imports_of(name) if imported in MODULES}


def outside_imports_of(name: str) -> set[str]:
    roots = {imported.partition(".")[0] for imported in imports_of(name)}
    return roots - sys.stdlib_module_names - {"ser_mlops", "pipelines"}


def short(name: str) -> str:
    """What the tables call a module: `audio` for ser_mlops.audio.decode, `pipelines.train` for itself."""
    return name if name.startswith("pipelines.") else name.split(".")[1]


def layer_of(name: str) -> int:
    key = short(name).partition(".")[0]
    for rank, members in enumerate(LAYERS.values()):
        if key in members:
            return rank
    pytest.fail(f"{MODULES[name].relative_to(ROOT)} is in no layer, expected it in LAYERS of tests/test_layers.py ({', '.join(LAYERS)})")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_its_own_layer_and_those_before_it(name):
    layers = list(LAYERS)
    too_far = {f"{imported} ({layers[layer_of(imported)]})" for imported in house_imports_of(name) if layer_of(imported) > layer_of(name)}
    assert not too_far, f"{name} ({layers[layer_of(name)]}) imports {', '.join(sorted(too_far))}"


def test_no_module_imports_itself_through_others():
    graph = {name: house_imports_of(name) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("name", MODULES)
def test_a_tool_is_imported_only_where_it_lives(name):
    astray = {f"{tool} (expected in: {', '.join(sorted(OWNERS[tool]))})"
              for tool in outside_imports_of(name) & set(OWNERS) if short(name) not in OWNERS[tool]}
    assert not astray, f"{name} imports {', '.join(sorted(astray))}"


@pytest.mark.parametrize("name", [name for name in MODULES if short(name) in {member for layer in ENGINE for member in LAYERS[layer]}])
def test_the_engine_runs_on_a_bare_machine(name):
    reached, needed, waiting = set(), set(), {name}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        needed |= outside_imports_of(module)
        waiting |= house_imports_of(module) - reached
    assert needed <= ENGINE_NEEDS, f"{name} needs {', '.join(sorted(needed - ENGINE_NEEDS))} through {', '.join(sorted(reached))}"


def test_init_files_are_empty():
    files = [path for folder in ("ser_mlops", "pipelines", "tests") for path in (ROOT / folder).glob("**/__init__.py")]
    assert files
    assert [str(path) for path in files if path.stat().st_size] == []


def test_every_module_opens_with_a_sentence():
    silent = [name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_a_new_module_must_find_its_layer(monkeypatch):
    monkeypatch.setitem(MODULES, "ser_mlops.attic", ROOT / "ser_mlops" / "attic.py")
    with pytest.raises(pytest.fail.Exception, match=r"ser_mlops/attic.py is in no layer, expected it in LAYERS"):
        layer_of("ser_mlops.attic")
