"""The file by which a corpus's folder says that its clips are synthetic."""

from pathlib import Path

SYNTHETIC_MARK = "SYNTHETIC.txt"


def is_synthetic(raw: Path, corpus: str) -> bool:
    """Say whether the clips in a corpus's folder are synthetic."""
    return (raw / corpus / SYNTHETIC_MARK).exists()
