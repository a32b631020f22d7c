"""Which modules of the project a module imports, directly or through others: read from the source, nothing is run."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def find_modules(root: Path) -> dict[str, Path]:
    """Return the modules of the package and the commands under a project's folder, by dotted name."""
    files = [*root.glob("ser_mlops/**/*.py"), *root.glob("pipelines/*.py")]
    return {".".join(path.relative_to(root).with_suffix("").parts): path for path in sorted(files) if path.name != "__init__.py"}


def imports_of(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return the full name of everything that a source file imports, at the top or in a function, but not for a type checker alone."""
    return set(_imported(ast.parse(path.read_text(encoding="utf-8")), modules))


def _imported(node: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import of {node.module}, expected the whole name"
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in modules else str(node.module) for name in submodules)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child, modules)


def import_closure(roots: Iterable[str], modules: Mapping[str, Path]) -> list[str]:
    """Return the modules that some modules import, directly or through others, and these themselves, by name."""
    reached: set[str] = set()
    waiting = set(roots)
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= (imports_of(modules[name], modules) & modules.keys()) - reached
    return sorted(reached)
