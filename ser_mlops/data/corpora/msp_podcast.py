"""MSP_PODCAST: MSP-Podcast, English podcasts, 73 k to 268 k segments by release; a licence that the institution signs.

`Audios/MSP-PODCAST_0001_0008.wav`, and in `Labels/labels_consensus.csv` (`labels_concensus.csv` in older releases) one row per segment:
FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set. The official partitions are kept. 16 kHz.
"""

from pathlib import Path, PurePosixPath

from ser_mlops.data.corpora.base import UNKNOWN, Clip, Corpus, NotAClip, Table, find_beside, read_rows
from ser_mlops.errors import DataError

LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
PARTS = {"train": "train", "development": "validation", "validation": "validation", "test1": "test1", "test2": "test2"}


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Find the label row of a segment.

    >>> rows = {"MSP-PODCAST_0001_0008": {"EmoClass": "N", "SpkrID": "97", "Gender": "Male", "Split_Set": "Development"}}
    >>> parse(PurePosixPath("Audios/MSP-PODCAST_0001_0008.wav"), rows).part
    'validation'
    """
    row = table.get(path.stem)
    if row is None:
        raise NotAClip("audio without label row")
    split = row["Split_Set"].strip()
    if split.lower() not in PARTS:
        raise NotAClip(f"no official partition: Split_Set is {split!r}")
    speaker, gender = row["SpkrID"].strip(), row["Gender"].strip().lower()
    return Clip(
        code=row["EmoClass"].strip(),
        speaker=UNKNOWN if speaker.lower() in ("", UNKNOWN) else speaker,
        recording=path.stem,
        gender=gender if gender in ("female", "male") else UNKNOWN,
        part=PARTS[split.lower()],
    )


def read_table(folder: Path) -> Table:
    """Read the label rows by file stem.

    Raises:
        DataError: there is no label file, or it lacks a column.
    """
    path = find_beside(folder, *LABEL_FILES)
    if path is None:
        raise DataError(f"no label file in {folder}, expected Labels/{LABEL_FILES[0]}")
    return {row["FileName"].strip().rpartition(".")[0] or row["FileName"].strip(): row for row in read_rows(path, COLUMNS)}


MSP_PODCAST = Corpus(
    name="MSP_PODCAST",
    title="MSP-Podcast",
    language="en",
    num_files=0,
    num_speakers=0,
    licence="signed by the institution, research only",
    source="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
    citation="Lotfian, Busso: Building Naturalistic Emotionally Balanced Speech Corpus. IEEE Trans. Affective Computing 10 (2019)",
    layout="Audios/MSP-PODCAST_0001_0008.wav with Labels/labels_consensus.csv",
    emotions={
        "N": "neutral",
        "H": "happy",
        "S": "sad",
        "A": "angry",
        "F": "fear",
        "D": "disgust",
        "U": "surprise",
        "C": "contempt",
        "O": "other",
        "X": "no agreement",
    },
    num_folds=0,
    parse=parse,
    read_table=read_table,
    lists_clips=True,
)
