"""CAFE: Canadian French acted speech, 936 files of 12 actors, CC BY-NC-SA 4.0.

`AA-E-I-S.wav`: actor 01-12 (odd male, even female), emotion letter, intensity 1 or 2, sentence 1-6. Neutral has one intensity only and
some distributions leave its field out (`03-N-1.wav`). 48 kHz wav or 192 kHz aiff.
"""

import re
from pathlib import PurePosixPath

from ser_mlops.data.corpora.base import Clip, Corpus, NotAClip, Table

NAME = re.compile(r"(0[1-9]|1[0-2])-([A-Z])(?:-([12]))?-([1-6])", re.IGNORECASE)
NEUTRAL = "N"


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read actor, emotion and sentence from a name with three or four fields.

    >>> parse(PurePosixPath("Colère/Fort/01-C-2-3.wav"), {}).gender
    'male'
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise NotAClip("unparsable name")
    actor, code, intensity, sentence = match[1], match[2].upper(), match[3] or "", match[4]
    if code != NEUTRAL and not intensity:
        raise NotAClip("unparsable name: no intensity")
    return Clip(
        code=code,
        speaker=actor,
        recording=f"{actor}-{code}-{sentence}" if code == NEUTRAL else f"{actor}-{code}-{intensity}-{sentence}",
        gender="male" if int(actor) % 2 else "female",
        language="fr",
        text=sentence,
    )


CAFE = Corpus(
    name="CAFE",
    title="CaFE (Canadian French Emotional)",
    language="fr",
    num_files=936,
    num_speakers=12,
    licence="CC BY-NC-SA 4.0",
    source="https://zenodo.org/records/1478765",
    citation="Gournay, Lahaie, Lefebvre: A Canadian French Emotional Speech Dataset. ACM MMSys 2018",
    layout="Colère/Fort/01-C-2-1.wav",
    emotions={"N": "neutral", "J": "happy", "T": "sad", "C": "angry", "P": "fear", "D": "disgust", "S": "surprise"},
    num_folds=3,
    parse=parse,
    fold_table={f"{actor:02}": (actor - 1) // 4 for actor in range(1, 13)},
)
