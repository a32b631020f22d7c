"""TESS: English acted speech, 2800 files, two women and 200 words each in seven emotions, CC BY-NC-ND 4.0.

`OAF_back_angry.wav`: speaker OAF or YAF (one file misses the F), word, emotion; `ps` is pleasant surprise. 24,414 Hz.
"""

import re
from pathlib import PurePosixPath

from ser_mlops.data.corpora.base import Clip, Corpus, NotAClip, Table

NAME = re.compile(r"([OY]A)F?_([a-z]+)_([a-z]+)", re.IGNORECASE)


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read speaker, word and emotion from the name.

    >>> parse(PurePosixPath("OAF_neutral/OA_bite_neutral.wav"), {}).speaker
    'OAF'
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise NotAClip("unparsable name")
    speaker, word, code = f"{match[1].upper()}F", match[2].lower(), match[3].lower()
    return Clip(code=code, speaker=speaker, recording=f"{speaker}_{word}_{code}", gender="female", text=word)


TESS = Corpus(
    name="TESS",
    title="TESS (Toronto Emotional Speech Set)",
    language="en",
    num_files=2800,
    num_speakers=2,
    licence="CC BY-NC-ND 4.0",
    source="https://doi.org/10.5683/SP2/E8H2MF",
    citation="Pichora-Fuller, Dupuis: Toronto Emotional Speech Set. Borealis 2020",
    layout="OAF_angry/OAF_back_angry.wav",
    emotions={
        "neutral": "neutral",
        "happy": "happy",
        "sad": "sad",
        "angry": "angry",
        "fear": "fear",
        "disgust": "disgust",
        "ps": "surprise",
    },
    num_folds=2,
    parse=parse,
    fold_table={"OAF": 0, "YAF": 1},
)
