"""The corpora by name: an explicit table of seven, and those that users define in a Python file of their own."""

import runpy
import traceback
from collections.abc import Mapping
from pathlib import Path

from ser_mlops.data.corpora.base import Corpus
from ser_mlops.data.corpora.cafe import CAFE
from ser_mlops.data.corpora.crema import CREMA
from ser_mlops.data.corpora.emofilm import EMOFILM
from ser_mlops.data.corpora.msp_podcast import MSP_PODCAST
from ser_mlops.data.corpora.ravdess import RAVDESS
from ser_mlops.data.corpora.savee import SAVEE
from ser_mlops.data.corpora.tess import TESS
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError, one_of

CORPORA: Mapping[str, Corpus] = {corpus.name: corpus for corpus in (CAFE, CREMA, EMOFILM, MSP_PODCAST, RAVDESS, SAVEE, TESS)}

MEANT = {
    "anger": "angry",
    "happiness": "happy",
    "sadness": "sad",
    "fearful": "fear",
    "disgusted": "disgust",
    "surprised": "surprise",
}
"""Other words for the seven: a corpus that used them would have those clips left out."""


def all_corpora(own: str | None = None) -> Mapping[str, Corpus]:
    """Return every corpus by name: the seven, and those that the Python file `own` lists as CORPORA.

    Raises:
        DataError: the file is missing, fails, lists no corpora, uses a name that is taken, or misspells one of the seven emotions.
    """
    return CORPORA if own is None else {**CORPORA, **_read_own(Path(own))}


def corpus_named(name: str, own: str | None = None) -> Corpus:
    """Return one corpus; see `all_corpora`. The file `own` is read only if the name is none of the seven."""
    if name in CORPORA:
        return CORPORA[name]
    corpora = all_corpora(own)
    if name not in corpora:
        raise DataError(one_of("corpus", name, corpora))
    return corpora[name]


def _read_own(path: Path) -> dict[str, Corpus]:
    if not path.is_file():
        raise DataError(f"no file {path} (data.own_corpora), expected a Python file that defines CORPORA")
    try:
        listed = runpy.run_path(str(path)).get("CORPORA")
    except Exception as error:  # whatever a user's own Python may raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f" in line {lines[-1]}" if lines else ""
        raise DataError(f"{path} (data.own_corpora) fails{place} ({type(error).__name__}: {error})") from error
    if not isinstance(listed, list | tuple) or not all(isinstance(corpus, Corpus) for corpus in listed):
        raise DataError(f"{path} (data.own_corpora) defines no CORPORA, expected a list of Corpus")
    taken = [corpus.name for corpus in listed if corpus.name in CORPORA]
    if taken:
        raise DataError(f"{path} (data.own_corpora): the name {taken[0]!r} is taken")
    for corpus in listed:
        for code, word in corpus.emotions.items():
            meant = MEANT.get(word.strip().lower(), word.strip().lower())
            if word not in EMOTIONS and meant in EMOTIONS:
                what = f"{corpus.name} maps {code!r} to {word!r}, expected {meant!r}"
                raise DataError(f"{path} (data.own_corpora): {what} (as it is, its clips would be left out)")
    return {corpus.name: corpus for corpus in listed}
