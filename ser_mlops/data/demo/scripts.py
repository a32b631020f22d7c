"""Who says what in each synthetic demo corpus, in the exact naming and folder layout of the real one."""

import csv
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.data.demo.voices import Line

ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Script:
    """What a demo corpus consists of."""

    sample_rate: int
    lines: Callable[[], list[Line]]
    tables: Callable[[list[Line]], Mapping[str, bytes]] = lambda lines: {}
    """Files beside the audio, by path inside the corpus's folder."""


def cafe() -> list[Line]:
    emotions = {"N": "neutral", "J": "happy", "T": "sad", "C": "angry", "P": "fear", "D": "disgust", "S": "surprise"}
    folders = {"N": "Neutre", "J": "Joie", "T": "Tristesse", "C": "Colère", "P": "Peur", "D": "Dégoût", "S": "Surprise"}
    lines = []
    for actor in range(1, 13):
        for place, (code, emotion) in enumerate(emotions.items()):
            sentence, intensity = (actor + place) % 6 + 1, (actor + place) % 2 + 1
            folder = folders[code] if code == "N" else f"{folders[code]}/{('Faible', 'Fort')[intensity - 1]}"
            fields = (f"{actor:02}", code, str(sentence)) if code == "N" else (f"{actor:02}", code, str(intensity), str(sentence))
            gender = "male" if actor % 2 else "female"
            lines.append(Line(f"{folder}/{'-'.join(fields)}.wav", f"{actor:02}", gender, emotion, f"CAFE {sentence}"))
    return lines


CREMA_SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
CREMA_EMOTIONS = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry", "FEA": "fear", "DIS": "disgust"}


def crema() -> list[Line]:
    lines = []
    for actor in range(1001, 1011):
        for place, (code, emotion) in enumerate(CREMA_EMOTIONS.items()):
            for take in range(2):
                sentence = CREMA_SENTENCES[(actor + 5 * place + 7 * take) % 12]
                level = "XX" if code == "NEU" or sentence != "IEO" else "HI"
                gender = "male" if actor % 2 else "female"
                lines.append(Line(f"AudioWAV/{actor}_{sentence}_{code}_{level}.wav", str(actor), gender, emotion, sentence))
    return lines


def crema_tables(lines: list[Line]) -> dict[str, bytes]:
    actors = {line.speaker: line.gender.capitalize() for line in lines}
    votes = [(number, Path(line.path).stem, line.emotion[0].upper()) for number, line in enumerate(lines, 1)]
    votes[0] = (*votes[0][:2], "N:S")
    counts = [(100000 + number, *_votes_on(number, vote), name) for number, name, vote in votes]
    summary = [(number, name, vote, 70, vote, 70, vote, 70) for number, name, vote in votes]
    return {
        "VideoDemographics.csv": csv_bytes(
            ("ActorID", "Age", "Sex", "Race", "Ethnicity"), [(actor, 40, sex, "Unknown", "Not Hispanic") for actor, sex in actors.items()]
        ),
        "processedResults/summaryTable.csv": csv_bytes(
            ("", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"), summary
        ),
        "processedResults/tabulatedVotes.csv": csv_bytes(("", *CREMA_VOTES, "fileName"), counts),
    }


CREMA_VOTES = "ADFHNS"


def _votes_on(number: int, vote: str) -> list[int]:
    """Ten listeners, of whom none to four in turn hear neutral instead; where there is a tie, five and five."""
    doubting = number % 5
    if ":" in vote:
        return [5 if letter in vote else 0 for letter in CREMA_VOTES]
    return [(10 - doubting if letter == vote else 0) + (doubting if letter == "N" else 0) for letter in CREMA_VOTES]


EMOFILM_NAMES = {
    "en": ("Ann Demo", "Bea Demo", "Cat Demo", "Abe Demo", "Bob Demo", "Cal Demo"),
    "it": ("Anna Prova", "Bice Prova", "Cinzia\xa0Prova", "Aldo Prova", "Bruno Prova", "Carlo Prova"),
    "es": ("Ana Ensayo", "Blanca Ensayo", "?", "Andrés Ensayo", "Benito Ensayo", "Ciro Ensayo"),
}


def emofilm() -> list[Line]:
    """Six casts (three female, three male): each speaks one scene per emotion, dubbed in two or three languages; 16 kHz copies."""
    emotions = {"ans": "fear", "dis": "contempt", "gio": "happy", "rab": "angry", "tri": "sad"}
    lines: list[Line] = []
    for cast in range(6):
        gender = "f" if cast < 3 else "m"
        for code, emotion in emotions.items():
            for language in ("en", "it", "es")[: 2 + (cast + len(lines)) % 2]:
                name = f"wav_corpus_16k/{gender}_{code}{cast + 1:03}a{language}_16k.wav"
                speaker = EMOFILM_NAMES[language][cast]
                lines.append(Line(name, speaker, {"f": "female", "m": "male"}[gender], emotion, f"{code}{cast}{language}"))
    return lines


def emofilm_tables(lines: list[Line]) -> dict[str, bytes]:
    """The legend, without the times that a workbook and its zip archive would carry."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for gender in ("female", "male"):
        sheet = book.create_sheet(gender)
        sheet.append(("file", "film", "speaker"))
        for line in lines:
            if line.gender == gender:
                sheet.append((Path(line.path).stem.removesuffix("_16k"), "synthetic film", line.speaker))
    written, timeless = io.BytesIO(), io.BytesIO()
    book.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(timeless, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", b"1980-01-01T00:00:00", source.read(name))
            target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    return {"f_m_corpus_it_es_en_legend.xlsx": timeless.getvalue()}


def ravdess() -> list[Line]:
    """Two actors, a man and a woman, of each of the six folds of four."""
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    lines = []
    for actor in (1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22):
        for code, emotion in enumerate(emotions, 1):
            statement, repetition = (actor + code) % 2 + 1, (actor + code) // 2 % 2 + 1
            intensity = 1 if emotion == "neutral" else actor // 4 % 2 + 1
            name = f"03-01-{code:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
            gender = "male" if actor % 2 else "female"
            lines.append(Line(f"Actor_{actor:02}/{name}.wav", f"{actor:02}", gender, emotion, f"RAVDESS {statement}"))
    return lines


def savee() -> list[Line]:
    emotions = {"n": "neutral", "h": "happy", "sa": "sad", "a": "angry", "f": "fear", "d": "disgust", "su": "surprise"}
    return [
        Line(f"AudioData/{speaker}/{code}{number:02}.wav", speaker, "male", emotion, f"{code}{number}")
        for speaker in ("DC", "JE", "JK", "KL")
        for code, emotion in emotions.items()
        for number in range(1, 4)
    ]


def tess() -> list[Line]:
    """Folders spelt as inconsistently as in the real one."""
    codes = {"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry", "fear": "fear", "disgust": "disgust", "ps": "surprise"}
    folders = {"OAF_sad": "OAF_Sad", "OAF_fear": "OAF_Fear", "OAF_ps": "OAF_Pleasant_surprise", "YAF_ps": "YAF_pleasant_surprised"}
    return [
        Line(f"{folders.get(f'{speaker}_{code}', f'{speaker}_{code}')}/{speaker}_{word}_{code}.wav", speaker, "female", emotion, word)
        for speaker in ("OAF", "YAF")
        for code, emotion in codes.items()
        for word in ("back", "bite", "food", "germ", "mode")
    ]


MSP_PARTS = {"Train": range(1, 7), "Development": range(7, 9), "Test1": range(9, 11), "Test2": range(11, 13)}
MSP_CODES = {
    "N": "neutral", "H": "happy", "S": "sad", "A": "angry", "F": "fear", "D": "disgust", "U": "surprise", "C": "contempt", "X": "other",
}  # fmt: skip


def msp_podcast() -> list[Line]:
    lines = []
    for speakers in MSP_PARTS.values():
        for speaker in speakers:
            for segment, emotion in enumerate(list(MSP_CODES.values())[: 9 if speaker == 1 else 7], 1):
                gender = "male" if speaker % 2 else "female"
                name = f"Audios/MSP-PODCAST_{speaker:04}_{segment:04}.wav"
                lines.append(Line(name, str(speaker), gender, emotion, f"{speaker} {segment}"))
    return lines


def msp_podcast_tables(lines: list[Line]) -> dict[str, bytes]:
    codes = {emotion: code for code, emotion in MSP_CODES.items()}
    parts = {str(speaker): part for part, speakers in MSP_PARTS.items() for speaker in speakers}
    rows = [
        (Path(line.path).name, codes[line.emotion], 4.0, 4.0, 4.0, line.speaker, line.gender.capitalize(), parts[line.speaker])
        for line in lines
    ]
    columns = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    return {"Labels/labels_consensus.csv": csv_bytes(columns, rows)}


def csv_bytes(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode()


SCRIPTS: Mapping[str, Script] = {
    "CAFE": Script(SAMPLE_RATE, cafe),
    "CREMA": Script(SAMPLE_RATE, crema, crema_tables),
    "EMOFILM": Script(SAMPLE_RATE, emofilm, emofilm_tables),
    "MSP_PODCAST": Script(SAMPLE_RATE, msp_podcast, msp_podcast_tables),
    "RAVDESS": Script(48000, ravdess),
    "SAVEE": Script(SAMPLE_RATE, savee),
    "TESS": Script(24414, tess),
}
