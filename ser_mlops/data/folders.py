"""Where the stages of dvc.yaml keep their tables: one file per corpus in a folder per stage, relative to the project."""

from pathlib import Path

LINK_TO_RAW = Path("data/raw")
DEMO = Path("data/demo")
IMPORTED = Path("data/imported")
DEFINITIONS = Path("data/definitions")
CATALOGUE = Path("data/catalogue")
AUDIO = Path("data/audio")
FRAMES = Path("data/frames")
LEFT_OUT = Path("data/left_out")
REPORT = Path("reports/data")


def definition_file(corpus: str) -> Path:
    """Return the path of the text that defines a corpus."""
    return DEFINITIONS / f"{corpus}.txt"


def catalogue_file(corpus: str) -> Path:
    """Return the path of a corpus's catalogue."""
    return CATALOGUE / f"{corpus}.parquet"


def listing_file(corpus: str) -> Path:
    """Return the path of the list of files to decode."""
    return CATALOGUE / f"{corpus}.files.json"


def audio_file(corpus: str) -> Path:
    """Return the path of a corpus's decoded samples."""
    return AUDIO / f"{corpus}.npy"


def index_file(corpus: str) -> Path:
    """Return the path of the index of the decoded samples."""
    return AUDIO / f"{corpus}.parquet"


def frame_file(corpus: str) -> Path:
    """Return the path of a corpus's frame."""
    return FRAMES / f"{corpus}.parquet"


def left_out_file(corpus: str) -> Path:
    """Return the path of the list of files that are not in the frame."""
    return LEFT_OUT / f"{corpus}.csv"
