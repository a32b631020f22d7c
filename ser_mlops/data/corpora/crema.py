"""CREMA: CREMA-D, English acted speech, 7442 files of 91 actors (48 male, 43 female), ODbL.

`AudioWAV/1001_IEO_ANG_HI.wav`: actor 1001-1091, one of 12 sentence codes, emotion, level LO MD HI XX (an old copy has one `X`). 16 kHz.
Beside the audio, where the user has them: `VideoDemographics.csv` (the only source of gender) and, of `processedResults`,
`tabulatedVotes.csv` (how many listeners heard each emotion; the rows 1xxxxx are those who heard the voice alone) and `summaryTable.csv`
(`VoiceVote`: what most of them heard, as a first letter; ties are joined by colons). The two agree for all 7442 files.
"""

import re
from pathlib import Path, PurePosixPath

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
from ser_mlops.errors import DataError

NAME = re.compile(r"(10[0-9]{2})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)", re.IGNORECASE)
ACTORS = range(1001, 1092)
EMOTIONS_BY_CODE = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry", "FEA": "fear", "DIS": "disgust"}
CODES_BY_VOTE = {code[0]: code for code in EMOTIONS_BY_CODE}
ROW_NAMES = ("", "Unnamed: 0")
"""What the column of row names is called as R writes it, and once pandas has written it again."""


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read actor, sentence and emotion from the name; gender and the listeners' vote from the table.

    >>> parse(PurePosixPath("AudioWAV/1040_ITH_SAD_X.wav"), {}).recording
    '1040_ITH_SAD_XX'
    """
    match = NAME.fullmatch(path.stem)
    if match is None or int(match[1]) not in ACTORS:
        raise NotAClip("unparsable name")
    actor, sentence, code, level = (part.upper() for part in match.groups())
    recording = f"{actor}_{sentence}_{code}_{'XX' if level == 'X' else level}"
    return Clip(
        code=code,
        speaker=actor,
        recording=recording,
        gender=table.get(actor, {}).get("gender", UNKNOWN),
        text=sentence,
        perceived=table.get(recording, {}).get("perceived", ""),
        votes=votes_in(table.get(recording, {})),
    )


def read_table(folder: Path) -> Table:
    """Read gender by actor, and what listeners heard by recording, from the files that are there.

    Raises:
        DataError: a file lacks a column, or holds something else than numbers of votes.
    """
    table: dict[str, dict[str, str]] = {}
    demographics = find_beside(folder, "VideoDemographics.csv")
    if demographics is not None:
        for row in read_rows(demographics, ("ActorID", "Sex")):
            sex = row["Sex"].strip().lower()
            table[row["ActorID"].strip()] = {"gender": sex if sex in ("female", "male") else UNKNOWN}
    votes = find_beside(folder, "tabulatedVotes.csv")
    for recording, counts in (_read_votes(votes) if votes is not None else {}).items():
        table[recording] = {"perceived": majority_of(counts)} | with_votes(counts)
    summary = find_beside(folder, "summaryTable.csv")
    if summary is not None:
        for row in read_rows(summary, ("FileName", "VoiceVote")):
            vote = row["VoiceVote"].strip().upper()
            perceived = ":".join(CODES_BY_VOTE.get(letter.strip()[:1], "") for letter in vote.split(":"))
            table.setdefault(row["FileName"].strip().upper(), {})["perceived"] = perceived
    return table


def _read_votes(path: Path) -> dict[str, dict[str, int]]:
    """Return the votes of those who heard the voice alone, by recording and code."""
    rows = read_rows(path, ("fileName", *CODES_BY_VOTE))
    names = next((name for name in ROW_NAMES if rows and name in rows[0]), None)
    if names is None:
        raise DataError(f"{path} has no row names (100001, 100002, …), which say that a row is of those who heard the voice alone")
    votes: dict[str, dict[str, int]] = {}
    for row in rows:
        if not row[names].strip().startswith("1"):
            continue
        recording, cells = row["fileName"].strip().upper(), {code: row[letter].strip() for letter, code in CODES_BY_VOTE.items()}
        if not all(re.fullmatch("[0-9]+", cell) for cell in cells.values()):
            raise DataError(f"{path}: votes {', '.join(cells.values())} of {recording!r}, expected whole numbers")
        votes[recording] = {code: int(cell) for code, cell in cells.items()}
    return votes


CREMA = Corpus(
    name="CREMA",
    title="CREMA-D (Crowd-sourced Emotional Multimodal Actors)",
    language="en",
    num_files=7442,
    num_speakers=91,
    licence="ODbL 1.0",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
    citation="Cao, Cooper, Keutmann, Gur, Nenkova, Verma: CREMA-D. IEEE Trans. Affective Computing 5 (2014)",
    layout="AudioWAV/1001_IEO_ANG_HI.wav",
    emotions=EMOTIONS_BY_CODE,
    num_folds=5,
    parse=parse,
    read_table=read_table,
    rule="labels",
    votes_files=("processedResults/tabulatedVotes.csv", "processedResults/summaryTable.csv"),
)
