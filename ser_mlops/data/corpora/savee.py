"""SAVEE: English acted speech, 480 files of four male speakers; registration, research only.

`AudioData/DC/sa01.wav`, where the same base name repeats in each speaker's folder, or `DC_sa01.wav`. 44.1 kHz.
"""

import re
from pathlib import PurePosixPath

from ser_mlops.data.corpora.base import Clip, Corpus, NotAClip, Table

NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?([a-z]{1,2})([0-9]{2})", re.IGNORECASE)
SPEAKERS = ("DC", "JE", "JK", "KL")


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read emotion and sentence from the name; the speaker from its prefix, else from the nearest folder named after one.

    >>> parse(PurePosixPath("AudioData/JE/su03.wav"), {}).speaker, parse(PurePosixPath("ALL/DC_sa01.wav"), {}).code
    ('JE', 'sa')
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise NotAClip("unparsable name")
    folders = [part.upper() for part in reversed(path.parts[:-1]) if part.upper() in SPEAKERS]
    if not match[1] and not folders:
        raise NotAClip("no speaker: neither a prefix nor a folder DC, JE, JK or KL")
    speaker = match[1].upper() if match[1] else folders[0]
    code, number = match[2].lower(), match[3]
    return Clip(code=code, speaker=speaker, recording=f"{speaker}_{code}{number}", gender="male", text=f"{code}{number}")


SAVEE = Corpus(
    name="SAVEE",
    title="SAVEE (Surrey Audio-Visual Expressed Emotion)",
    language="en",
    num_files=480,
    num_speakers=4,
    licence="registration, research only",
    source="http://kahlan.eps.surrey.ac.uk/savee/",
    citation="Haq, Jackson: Multimodal Emotion Recognition. In: Machine Audition, IGI Global 2010",
    layout="AudioData/DC/sa01.wav",
    emotions={"n": "neutral", "h": "happy", "sa": "sad", "a": "angry", "f": "fear", "d": "disgust", "su": "surprise"},
    num_folds=4,
    parse=parse,
    fold_table={speaker: fold for fold, speaker in enumerate(SPEAKERS)},
)
