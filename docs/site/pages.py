"""Hooks of mkdocs: the pages outside docs/ join the site, and links between the two lead to where they are there.

A link to a file of the repository that is no page (params.yaml) leads to a copy of it; one to a folder stays text; one to nothing is a
warning, which `mkdocs build --strict` takes for an error.
"""

import logging
import posixpath
import re
from pathlib import Path

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
}
"""Pages outside docs/, and where they stand in the site."""
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")

log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


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
