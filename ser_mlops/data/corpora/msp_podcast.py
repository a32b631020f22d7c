"""MSP_PODCAST: MSP-Podcast, English podcasts, 73 k to 268 k segments by release; a licence that the institution signs.

`Audios/MSP-PODCAST_0001_0008.wav`, and in `Labels/labels_consensus.csv` (`labels_concensus.csv` in older releases) one row per segment:
FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set. The official partitions are kept. 16 kHz. Who voted for what is
in `Labels/labels_detailed.csv` (see `msp_votes`), where the user has it.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ser_mlops.data.audio.format import AUDIO_SUFFIXES
from ser_mlops.data.corpora.base import (
    UNKNOWN,
    Clip,
    Corpus,
    NotAClip,
    Table,
    find_beside,
    majority_of,
    read_rows,
    votes_in,
    with_votes,
)
from ser_mlops.data.corpora.msp_votes import read_votes
from ser_mlops.errors import DataError

LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
DECIDING = ("EmoClass", "SpkrID", "Gender", "Split_Set")
"""What two rows of one file have to agree on."""
LEAVING = re.compile(r"^/|^[A-Za-z]:|\\|(?:^|/)\.\.(?:/|$)")
"""File names that lead out of the audio folder."""
NOT_KNOWN = ("", UNKNOWN, "na", "n/a", "nan", "none")
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
    part = part_in(row)
    if part is None:
        raise NotAClip(f"no official partition: Split_Set is {row['Split_Set'].strip()!r}")
    votes = votes_in(row)
    return Clip(
        code=row["EmoClass"].strip(),
        speaker=speaker_in(row),
        recording=path.stem,
        gender=gender_in(row),
        part=part,
        perceived=majority_of(votes),
        votes=votes,
    )


def part_in(row: Mapping[str, str]) -> str | None:
    """Return the official partition that a label row names, None where it names none (Test3, NA)."""
    return PARTS.get(row["Split_Set"].strip().lower())


def speaker_in(row: Mapping[str, str]) -> str:
    """Return the speaker that a label row names, or UNKNOWN."""
    speaker = row["SpkrID"].strip()
    return UNKNOWN if speaker.lower() in NOT_KNOWN else speaker


def gender_in(row: Mapping[str, str]) -> str:
    """Return female, male or UNKNOWN."""
    return {"f": "female", "female": "female", "m": "male", "male": "male"}.get(row["Gender"].strip().lower(), UNKNOWN)


def read_table(folder: Path) -> Table:
    """Read the label rows by file stem, with the votes where they are known.

    Raises:
        DataError: there is no label file, or `read_labels` or `read_votes` refuses a file.
    """
    path = find_beside(folder, *LABEL_FILES)
    if path is None:
        raise DataError(f"no label file in {folder}, expected Labels/{LABEL_FILES[0]}")
    labels = read_labels(path)
    for name, votes in read_votes(folder).items():
        if (stem := stem_of(name)) in labels:
            labels[stem] |= with_votes(votes)
    return labels


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows of a label file by file stem: FileName may have a folder before it, any suffix of audio, or none.

    Raises:
        DataError: the file lacks a column, a name leads out of the audio folder, or two rows of one file contradict each other.
    """
    labels: dict[str, dict[str, str]] = {}
    places: dict[str, int] = {}
    contradictions: dict[str, str] = {}
    leaving: list[str] = []
    for number, row in enumerate(read_rows(path, COLUMNS), 2):
        name = row["FileName"].strip()
        if LEAVING.search(name):
            leaving.append(name)
        stem = stem_of(name)
        differing = [column for column in DECIDING if stem in labels and labels[stem][column].strip() != row[column].strip()]
        if differing and stem not in contradictions:
            was, now = ("/".join(one[column].strip() for column in differing) for one in (labels[stem], row))
            rows = f"{was} in line {places[stem]}, {now} in line {number}"
            contradictions[stem] = f"{name!r} is labelled twice with another {' and '.join(differing)} ({rows})"
        labels.setdefault(stem, row)
        places.setdefault(stem, number)
    if leaving:
        raise DataError(f"{path}: {leaving[0]!r} leaves the audio folder ({len(leaving)} such), expected plain file names")
    if contradictions:
        first = next(iter(contradictions.values()))
        raise DataError(f"{path}: {first}; {len(contradictions)} such, expected one label, speaker and partition per file")
    return labels


def stem_of(name: str) -> str:
    """Return the name of a file without its folders and its suffix of audio.

    >>> stem_of("Audios/MSP-PODCAST_0001_0008.WAV"), stem_of("MSP-PODCAST_0001_0008")
    ('MSP-PODCAST_0001_0008', 'MSP-PODCAST_0001_0008')
    """
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name


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
    votes_files=("Labels/labels_detailed.csv",),
)
