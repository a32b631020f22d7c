"""Folders of corpora for the tests: names matter, contents do not."""

import os
from pathlib import Path, PurePosixPath

import pytest

from ser_mlops.data.corpora.base import Clip, Corpus, NotAClip, Table
from ser_mlops.data.corpora.scan import Found, scan

PAGE = Path(__file__).parents[3] / "docs/adding-a-corpus.md"
OWN_CORPUS = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
"""The file of own corpora that the docs show: EMODB."""


def lay_out(raw: Path, *paths: str, content: bytes = b"sound") -> Path:
    """Write files below `raw` and return it."""
    for path in paths:
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        (raw / path).write_bytes(content)
    return raw


def clip_of(corpus: Corpus, path: str, table: Table | None = None) -> Clip:
    """Parse a path inside the corpus's folder."""
    return corpus.parse(PurePosixPath(path), table or {})


def reason_of(corpus: Corpus, path: str, table: Table | None = None) -> str:
    """Return why a path inside the corpus's folder is left out."""
    with pytest.raises(NotAClip) as refusal:
        clip_of(corpus, path, table)
    return str(refusal.value)


def scanned(raw: Path, corpus: Corpus) -> dict[str, Found]:
    """Scan a corpus without imported frames; by path."""
    return {item.path: item for item in scan(raw, corpus, imported=raw / "nothing").found}


def recordings(corpus: str) -> Path:
    """Return the folder of real recordings, or skip the test."""
    folder = Path(os.environ.get("SER_RECORDINGS", ""))
    if not os.environ.get("SER_RECORDINGS") or not (folder / corpus).is_dir():
        pytest.skip(f"SER_RECORDINGS names no folder with real {corpus} recordings")
    return folder
