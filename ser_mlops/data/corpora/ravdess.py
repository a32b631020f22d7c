"""RAVDESS: English acted speech, 1440 speech files of 24 actors, CC BY-NC-SA 4.0.

`Actor_07/03-01-06-01-02-01-07.wav`: modality, channel, emotion, intensity, statement, repetition, actor (odd male, even female). Only
03-01 (audio-only speech) is used: song and audio-visual files repeat the same voices. 48 kHz.
"""

import re
from pathlib import PurePosixPath

from ser_mlops.data.corpora.base import Clip, Corpus, NotAClip, Table

NAME = re.compile(r"(0[123])-(0[12])-(\d\d)-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read emotion, statement and actor from the seven fields of the name.

    >>> parse(PurePosixPath("Actor_07/03-01-06-01-02-01-07.wav"), {}).gender
    'male'
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise NotAClip("unparsable name")
    modality, channel, code, _, statement, _, actor = match.groups()
    if modality != "03":
        raise NotAClip("audio-visual copy")
    if channel != "01":
        raise NotAClip("song")
    return Clip(
        code=code,
        speaker=actor,
        recording=path.stem,
        gender="male" if int(actor) % 2 else "female",
        text=statement,
    )


RAVDESS = Corpus(
    name="RAVDESS",
    title="RAVDESS (Ryerson Audio-Visual Database of Emotional Speech and Song), audio-only speech",
    language="en",
    num_files=1440,
    num_speakers=24,
    licence="CC BY-NC-SA 4.0",
    source="https://zenodo.org/records/1188976",
    citation="Livingstone, Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song. PLoS ONE 13 (2018)",
    layout="Actor_01/03-01-01-01-01-01-01.wav",
    emotions={
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    },
    num_folds=6,
    parse=parse,
    fold_table={f"{actor:02}": (actor - 1) // 4 for actor in range(1, 25)},
    rule="calm",
)
