"""EMOFILM: EmoFilm, 1115 clips from films in English, Italian and Spanish, 179 named speakers; on request, for research.

`wav_corpus/f_ans001aen.wav`: gender, emotion code, scene number, take letter, language; 16 kHz copies append `_16k`. Speakers are named
only in `f_m_corpus_it_es_en_legend.xlsx` (sheets female and male, columns file, film, speaker; `Unknown male` and the like where nobody is
named). The dubs of a scene share number and letter. `dis` is *disprezzo*: contempt.
"""

import re
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

from ser_mlops.data.corpora.base import UNKNOWN, Clip, Corpus, NotAClip, Table, find_beside
from ser_mlops.errors import DataError

NAME = re.compile(r"([fm])_([a-z]{3})([0-9]+)([a-z]?)(en|it|es)(?:_16k)?", re.IGNORECASE)
LEGEND = "f_m_corpus_it_es_en_legend.xlsx"
GENDERS = {"f": "female", "m": "male"}
UNNAMED = re.compile(r"\b(?:un?kn?own?|not known|n a|nn|unidentified|uncredited|anonym\w*|sconosciut[oaie]|desconocid[oa]s?|ignot[oa])\b")
"""What the legend, in three languages, calls somebody whom it does not name."""
MISSPELT = {"giuppi izzo": "giuppy izzo", "massimo de ambrosio": "massimo de ambrosis", "robert duval": "robert duvall"}


def parse(path: PurePosixPath, table: Table) -> Clip:
    """Read gender, emotion, scene and language from the name, the speaker from the legend.

    All takes and dubs of a scene number are one scene.

    >>> parse(PurePosixPath("wav_corpus/f_ans001aen_16k.wav"), {}).recording
    'f_ans001aen'
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise NotAClip("unparsable name")
    gender, code, number, take, language = (part.lower() for part in match.groups())
    recording = f"{gender}_{code}{number}{take}{language}"
    return Clip(
        code=code,
        speaker=table.get(recording, {}).get("speaker", UNKNOWN),
        recording=recording,
        gender=GENDERS[gender],
        language=language,
        scene=f"{gender}_{code}{number}",
    )


def read_table(folder: Path) -> Table:
    """Read the speakers from the legend, if there is one."""
    legend = find_beside(folder, LEGEND)
    if legend is None:
        return {}
    import openpyxl  # 0.3 s that only this corpus needs

    try:
        book = openpyxl.load_workbook(legend, read_only=True, data_only=True)
    except (OSError, KeyError, zipfile.BadZipFile, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise DataError(f"{legend} is not a readable xlsx file: {error}") from None
    table: dict[str, dict[str, str]] = {}
    for sheet in book.worksheets:
        rows = sheet.iter_rows(values_only=True)
        header = [str(cell or "").strip().lower() for cell in next(rows, ())]
        if "file" not in header or "speaker" not in header:
            raise DataError(f"{legend}: sheet {sheet.title!r} has the columns {', '.join(header)}, expected file and speaker")
        for row in rows:
            stem = str(row[header.index("file")] or "").strip().lower().removesuffix(".wav").removesuffix("_16k")
            table[stem] = {"speaker": speaker_id(str(row[header.index("speaker")] or ""))}
    book.close()
    return table


def speaker_id(name: str) -> str:
    """Return one spelling per speaker: lower case, plain spaces, no accents, no counts; UNKNOWN for nobody in particular.

    >>> speaker_id("Constantino\\xa0Romero+6"), speaker_id("María Moscardó"), speaker_id("Unknown male"), speaker_id("??")
    ('constantino romero', 'maria moscardo', 'unknown', 'unknown')
    """
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(letter))
    spelling = " ".join(re.sub(r"[^\w'. -]|[0-9]", " ", letters).split())
    if UNNAMED.search(spelling.replace(".", " ")) or not any(letter.isalpha() for letter in spelling):
        return UNKNOWN
    return MISSPELT.get(spelling, spelling)


EMOFILM = Corpus(
    name="EMOFILM",
    title="EmoFilm",
    language="en, it, es",
    num_files=1115,
    num_speakers=179,
    licence="on request, research only",
    source="https://zenodo.org/records/1326428",
    citation="Parada-Cabaleiro, Costantini, Batliner, Baird, Schuller: Categorical vs Dimensional Perception of Italian Emotional Speech. "
    "Interspeech 2018",
    layout="wav_corpus/f_ans001aen.wav",
    emotions={"ans": "fear", "dis": "contempt", "gio": "happy", "rab": "angry", "tri": "sad"},
    num_folds=5,
    parse=parse,
    read_table=read_table,
    rule="contempt",
)
