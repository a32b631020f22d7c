"""An extension of griffe: the doctests of a docstring become code blocks, which Markdown would take for quotations."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^(?:>>> .*\n?)(?:.+\n?)*", flags=re.MULTILINE)


class Examples(griffe.Extension):
    """Fence every doctest."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute before it is parsed."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(lambda example: f"```pycon\n{example[0].rstrip()}\n```\n", obj.docstring.value)
