"""Synthetic demo corpora: speech-like clips in the exact naming and folder layout of the seven real corpora.

Nobody is heard in them. A voice is a row of harmonics (the glottal source) through four resonances (the vocal tract) with breath noise;
an emotion changes pitch, melody, tempo, spectral tilt, breathiness and resonances, a speaker the same things less. Every sample follows
from the name of its clip, so two runs write the same bytes.
"""

import csv
import io
import re
import wave
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_mlops.errors import DataError, one_of
from ser_mlops.files import replacing
from ser_mlops.seeds import rng

SEED = 19730309
NOTICE = "Synthetic speech-like sounds, made by this project to try it out. Not the real corpus: no person was recorded.\n"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Style:
    """How an emotion sounds, relative to the speaker's own voice."""

    pitch: float
    """Factor on the fundamental."""
    glide: float
    """Octaves that the melody rises over the clip."""
    swing: float
    """Octaves that the melody rises and falls within a syllable."""
    pace: float
    """Syllables per second."""
    tilt: float
    """Amplitude of harmonic k falls as k to the minus this."""
    breath: float
    """Breath noise, relative to the voice."""
    tract: float = 1.0
    """Factor on the resonances: below 1, a longer tract."""
    tremor: float = 0.0
    """Depth of an 8 Hz tremor of loudness and pitch."""
    creak: float = 0.0
    """Depth of a beat at half the pitch."""
    attack: float = 1.0
    """Exponent on a syllable's loudness: below 1 abrupt, above 1 soft."""
    level: float = 0.5
    """Peak of the clip, 1 is full scale."""


STYLES = {
    "neutral": Style(pitch=1.0, glide=-0.1, swing=0.03, pace=4.2, tilt=1.3, breath=0.02),
    "happy": Style(pitch=1.5, glide=0.0, swing=0.45, pace=5.5, tilt=0.9, breath=0.03, tract=1.1, level=0.7),
    "sad": Style(pitch=0.8, glide=-0.25, swing=0.02, pace=2.4, tilt=2.4, breath=0.06, attack=2.0, level=0.2),
    "angry": Style(pitch=1.2, glide=-0.15, swing=0.2, pace=6.0, tilt=0.3, breath=0.02, tract=1.05, attack=0.4, level=0.9),
    "fear": Style(pitch=1.7, glide=0.1, swing=0.05, pace=6.5, tilt=1.5, breath=0.5, tremor=0.5, level=0.4),
    "disgust": Style(pitch=0.7, glide=-0.2, swing=0.08, pace=3.0, tilt=0.8, breath=0.08, tract=0.8, creak=0.8, level=0.5),
    "surprise": Style(pitch=1.4, glide=0.9, swing=0.1, pace=3.2, tilt=1.0, breath=0.12, tract=1.15, level=0.7),
    "contempt": Style(pitch=0.75, glide=0.2, swing=0.02, pace=2.8, tilt=1.1, breath=0.02, tract=0.9, creak=0.3, level=0.4),
    "calm": Style(pitch=0.97, glide=-0.1, swing=0.02, pace=3.6, tilt=1.5, breath=0.04, level=0.3),
    "other": Style(pitch=1.1, glide=0.1, swing=0.15, pace=4.5, tilt=1.1, breath=0.1),
}
VOWELS = np.array(
    [[730, 1090, 2440, 3400], [530, 1840, 2480, 3500], [270, 2290, 3010, 3700], [570, 840, 2410, 3300], [300, 870, 2240, 3200]]
)
"""Resonances in Hz of a, e, i, o, u."""
BANDWIDTHS = np.array([80.0, 100.0, 140.0, 200.0])
"""Of the resonances, in Hz."""
CONTROL_RATE = 200
"""Values per second of the slow curves: pitch, loudness, resonances."""
HIGHEST = 5500.0
"""Harmonics above this, in Hz, are left out."""


@dataclass(frozen=True)
class Line:
    """One clip to be spoken."""

    path: str
    """Inside the corpus's folder."""
    speaker: str
    gender: str
    emotion: str
    text: str
    """Decides the syllables."""


@dataclass(frozen=True)
class Script:
    """What a demo corpus consists of."""

    sample_rate: int
    lines: Callable[[], list[Line]]
    tables: Callable[[list[Line]], Mapping[str, bytes]] = lambda lines: {}
    """Files beside the audio, by path inside the corpus's folder."""


def write_demo(corpus: str, folder: Path) -> int:
    """Write the demo corpus of this name to a folder, whole or not at all; return its number of clips."""
    if corpus not in SCRIPTS:
        raise DataError(one_of("demo corpus", corpus, SCRIPTS))
    script = SCRIPTS[corpus]
    lines = script.lines()
    with replacing(folder) as aside:
        for line in lines:
            write_wav(aside / line.path, speak(line, f"{corpus}/{line.speaker}", script.sample_rate), script.sample_rate)
        for path, content in {**script.tables(lines), "SYNTHETIC.txt": NOTICE.encode()}.items():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_bytes(content)
    return len(lines)


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write mono PCM16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


def speak(line: Line, speaker: str, sample_rate: int) -> np.ndarray:
    """Return the samples of a line, in [-1, 1]; `speaker` is unique among all corpora and decides the voice."""
    own, take = rng(SEED, "voice", speaker), rng(SEED, "clip", speaker, line.path)
    style = STYLES[line.emotion]
    is_female = line.gender == "female"
    pitch_hz = (185 if is_female else 130) * own.uniform(0.93, 1.07) * style.pitch * take.uniform(0.97, 1.03)
    tract = (1.12 if is_female else 1.0) * own.uniform(0.96, 1.04) * style.tract
    tilt = style.tilt + own.uniform(-0.12, 0.12) + take.uniform(-0.05, 0.05)
    breath = style.breath * own.uniform(0.8, 1.25)
    pace = style.pace * own.uniform(0.94, 1.06) * take.uniform(0.95, 1.05)

    vowels = VOWELS[[zlib.crc32(f"{line.text}{place}".encode()) % len(VOWELS) for place in range(max(2, round(pace)))]]
    duration_s = len(vowels) / pace
    time_c = np.arange(int(duration_s * CONTROL_RATE)) / CONTROL_RATE
    beat_c = time_c * pace % 1.0
    tremor_c = style.tremor * np.sin(2 * np.pi * 8.0 * time_c + take.uniform(0, 6))
    melody_c = style.glide * (time_c / duration_s - 0.3) + style.swing * np.sin(2 * np.pi * beat_c) + 0.1 * tremor_c
    pitch_c = pitch_hz * 2.0**melody_c
    loud_c = np.sin(np.pi * beat_c) ** style.attack * (1 - 0.4 * time_c / duration_s) * (1 + tremor_c) + 1e-3
    resonances_c4 = tract * vowels[np.minimum((time_c * pace).astype(int), len(vowels) - 1)]

    time_s = np.arange(int(duration_s * sample_rate)) / sample_rate
    phase_s = 2 * np.pi * np.cumsum(np.interp(time_s, time_c, pitch_c)) / sample_rate
    voice_s = np.zeros_like(time_s)
    for harmonic in range(1, int(HIGHEST / pitch_c.min()) + 1):
        gain_c = loud_c * harmonic**-tilt * resonance(harmonic * pitch_c, resonances_c4)
        voice_s += np.interp(time_s, time_c, gain_c) * np.sin(harmonic * phase_s)
    voice_s *= 1 + style.creak * np.sin(phase_s / 2)
    noise_s = band_noise(take, len(time_s), sample_rate) * np.interp(time_s, time_c, loud_c)
    spoken_s = voice_s / rms(voice_s) + (breath + 0.01) * noise_s / rms(noise_s)
    return style.level * take.uniform(0.85, 1.0) * spoken_s / np.abs(spoken_s).max()


def resonance(frequency_c: np.ndarray, resonances_c4: np.ndarray) -> np.ndarray:
    """Return the gain of the vocal tract at one frequency per moment: a sum of four resonance curves."""
    distance_c4 = (frequency_c[:, None] - resonances_c4) / BANDWIDTHS
    gain_c = (1 / (1 + distance_c4**2) * np.array([1.0, 0.7, 0.4, 0.25])).sum(axis=1)
    return np.where(frequency_c < HIGHEST, gain_c + 0.02, 0.0)


def band_noise(random: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Return noise between 2 and 7 kHz, as far as the sampling rate reaches."""
    spectrum = np.fft.rfft(random.standard_normal(num_samples))
    frequency = np.fft.rfftfreq(num_samples, 1 / sample_rate)
    return np.fft.irfft(spectrum * ((frequency > 2000) & (frequency < 7000)), num_samples)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


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
    summary = [(number, name, vote, 70, vote, 70, vote, 70) for number, name, vote in votes]
    return {
        "VideoDemographics.csv": csv_bytes(
            ("ActorID", "Age", "Sex", "Race", "Ethnicity"), [(actor, 40, sex, "Unknown", "Not Hispanic") for actor, sex in actors.items()]
        ),
        "processedResults/summaryTable.csv": csv_bytes(
            ("", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"), summary
        ),
    }


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
    "CAFE": Script(16000, cafe),
    "CREMA": Script(16000, crema, crema_tables),
    "EMOFILM": Script(16000, emofilm, emofilm_tables),
    "MSP_PODCAST": Script(16000, msp_podcast, msp_podcast_tables),
    "RAVDESS": Script(48000, ravdess),
    "SAVEE": Script(16000, savee),
    "TESS": Script(24414, tess),
}
