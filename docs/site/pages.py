"""Hooks of mkdocs: the pages outside docs/ and the notebook join the site, and links between them lead to where they are there.

A link to a file of the repository that is no page (params.yaml) leads to a copy of it; one to a folder stays text; one to nothing is a
warning, which `mkdocs build --strict` takes for an error.
"""

import json
import logging
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/server/README.md": "server.md",
    "docs/notebook.ipynb": "notebook.md",
}
"""Pages outside docs/ or of another format, and where they stand in the site."""
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")

log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add these pages."""
    for source, uri in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=page_of(json.loads(text)) if source.endswith(".ipynb") else text))
    return files


def page_of(notebook: Mapping[str, Any]) -> str:
    """Return a notebook with its outputs as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts += [source] if cell["cell_type"] == "markdown" else [f"```python\n{source}\n```", *map(_shown, cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _shown(output: Mapping[str, Any]) -> str:
    """Return an output of a cell: its picture, its table without the style that pandas gives it, or its text."""
    data = {kind: "".join(content) for kind, content in output.get("data", {"text/plain": output.get("text", "")}).items()}
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"].split())}">'
    if "text/html" in data:
        return re.sub(r"<style.*?</style>\n?", "", data["text/html"], flags=re.DOTALL)
    return f"```text\n{data['text/plain'].rstrip()}\n```"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    if page.file.generated_by not in (None, "docs/site/pages.py") and uri not in PAGES.values():
        return markdown
    source = next((source for source, page_uri in PAGES.items() if page_uri == uri), f"docs/{uri}")

    def lead(link: re.Match[str]) -> str:
        if "://" in link["target"] or link["target"].startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
        if (ROOT / path).is_dir():
            return link["text"]
        target = PAGES.get(path) or path.removeprefix("docs/")
        if target == path:
            if not (ROOT / path).is_file():
                log.warning("%s links to %s, which does not exist", source, path)
                return link["text"]
            target = f"files/{path}"
            if files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, content=(ROOT / path).read_bytes()))
        return f"{link['text']}({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{link['anchor'] or ''})"

    return LINK.sub(lead, markdown)
