"""What of data/own_corpora.py defines one corpus: the text on which its stages depend, so that editing one corpus redoes no other.

The text of a corpus is made of the statements of the file that its entry in CORPORA can reach by the names that they use, and of every
statement that may act on others. It is written without comments, so a comment redoes nothing. Where the statements of a corpus cannot be
told from those of others, its text is the whole file: rather redo what has not changed than keep what has.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

from ser_mlops.data.corpora.registry import CORPORA, all_corpora
from ser_mlops.errors import DataError, one_of

LISTING = "CORPORA"
REACHES_ANYTHING = {"globals", "locals", "vars", "eval", "exec", "getattr", "setattr", "__import__", "importlib", "sys"}
"""Names by which code may use names that it does not write."""
CHANGES_NOTHING = {"Corpus", "replace", "dict", "list", "tuple", "set", "frozenset", "sorted", "range", "zip", "str", "int", "len", "Path"}
CHANGES_NOTHING |= {"re.compile", "dict.fromkeys", "partial"}
"""What a statement may call and still do nothing but give a name its value."""


def definition_of(name: str, own: Path) -> str:
    """Return the text that defines a corpus: of the package, or by the file `own`.

    Raises:
        DataError: there is no such corpus, or the file cannot be used.
    """
    if name in CORPORA:
        return f"{name}: a corpus of the package\n"
    corpora = all_corpora(str(own))
    if name not in corpora:
        raise DataError(one_of("corpus", name, corpora))
    own_names = [corpus for corpus in corpora if corpus not in CORPORA]
    return statements_of(own_names.index(name), len(own_names), own.read_text(encoding="utf-8"))


def statements_of(position: int, num_corpora: int, text: str) -> str:
    """Return the statements that define the entry of CORPORA at a position, as text.

    >>> statements_of(0, 2, "A = 1\\nB = 2  # two\\nCORPORA = [A, B]")
    'A = 1\\nA\\n'
    """
    module = ast.parse(text)
    entries = _entries(module)
    if len(entries) != num_corpora or _mentioned(module) & REACHES_ANYTHING:
        return ast.unparse(module) + "\n"
    body = [statement for statement in module.body if LISTING not in _defined(statement)]
    reached = [statement for statement in body if not _only_defines(statement)]
    while True:
        names = _mentioned(entries[position], *reached)
        more = [statement for statement in body if statement not in reached and names & _defined(statement)]
        if not more:
            break
        reached += more
    return "\n".join(ast.unparse(part) for part in [*(statement for statement in body if statement in reached), entries[position]]) + "\n"


def _entries(module: ast.Module) -> Sequence[ast.expr]:
    """Return what CORPORA lists; nothing where it is not one plain list."""
    listings = [statement for statement in module.body if LISTING in _defined(statement)]
    mentions = [node for node in ast.walk(module) if isinstance(node, ast.Name) and node.id == LISTING]
    value = getattr(listings[0], "value", None) if len(listings) == len(mentions) == 1 else None
    entries = value.elts if isinstance(value, ast.List | ast.Tuple) else []
    return [] if any(isinstance(entry, ast.Starred) for entry in entries) else entries


def _only_defines(statement: ast.stmt) -> bool:
    """Say whether a statement does nothing but give a name its value, so that who does not use the name need not know it."""
    if isinstance(statement, ast.FunctionDef):
        return not statement.decorator_list and _calls_nothing(statement.args)
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name) for target in statement.targets) and _calls_nothing(statement.value)
    return isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and _calls_nothing(statement)


def _calls_nothing(code: ast.AST) -> bool:
    """Say whether code calls nothing that may change a value: methods of plain text and what is in `CHANGES_NOTHING` do not."""
    called = [node.func for node in ast.walk(code) if isinstance(node, ast.Call)]
    return all(
        ast.unparse(function) in CHANGES_NOTHING or (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant))
        for function in called
    )


def _defined(statement: ast.stmt) -> set[str]:
    """Return the names to which a statement gives values."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _mentioned(*code: ast.AST) -> set[str]:
    return {node.id for part in code for node in ast.walk(part) if isinstance(node, ast.Name)}
