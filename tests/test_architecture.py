"""docs/architecture.md shows the tree as it is."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.project import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def shown() -> Iterator[str]:
    """Every path of the page's tree, folders with a slash at their end."""
    block = re.search(r"^```\n(ser_mlops/.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block
    folders: list[str] = []
    for line in block[1].splitlines():
        entry = re.fullmatch(r"( *)(\S+)  +\S.*|(\S+)", line)
        assert entry, f"{line!r}: expected a path and what it is for"
        indent, name = (entry[1], entry[2]) if entry[2] else ("", entry[3])
        folders[len(indent) // 2 :] = [name]
        yield "".join(folders)


def present() -> Iterator[str]:
    """Every module and every folder of modules of the package and the commands."""
    for path in (*ROOT.glob("ser_mlops/**/*.py"), *ROOT.glob("pipelines/**/*.py")):
        inside = PurePosixPath(path.relative_to(ROOT).as_posix())
        yield f"{inside.parent}/" if inside.name == "__init__.py" else str(inside)


def test_the_tree_names_every_module_and_no_other():
    entries, real = [*shown()], set(present())
    assert len(set(entries)) == len(entries)
    assert sorted(real - set(entries)) == [], "not in the tree of docs/architecture.md"
    assert sorted(set(entries) - real) == [], "in the tree of docs/architecture.md, but not there"


def test_the_tree_has_the_order_of_the_layers():
    layers = (ROOT / "tests/test_layers.py").read_text(encoding="utf-8")
    order = re.findall(r'"(\w+)"', layers[layers.index("ORDER = (") : layers.index(")", layers.index("ORDER = ("))])
    rooms = [PurePosixPath(path).stem for path in shown() if re.fullmatch(r"ser_mlops/[^/]+/?|pipelines/", path)]
    assert sorted(rooms, key=order.index) == rooms
