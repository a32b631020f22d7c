"""Synthetic demo corpora on disk: the clips, the tables beside them, and the file that says they are synthetic."""

import wave
from pathlib import Path

import numpy as np

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_TYPE
from ser_mlops.data.demo.mark import SYNTHETIC_MARK
from ser_mlops.data.demo.scripts import SCRIPTS
from ser_mlops.data.demo.voices import speak
from ser_mlops.errors import DataError, one_of
from ser_mlops.files import replacing

NOTICE = "Synthetic speech-like sounds, made by this project to try it out. Not the real corpus: no person was recorded.\n"


def write_demo(corpus: str, folder: Path) -> int:
    """Write the demo corpus of this name to a folder, whole or not at all; return its number of clips."""
    if corpus not in SCRIPTS:
        raise DataError(one_of("demo corpus", corpus, SCRIPTS))
    script = SCRIPTS[corpus]
    lines = script.lines()
    with replacing(folder) as aside:
        for line in lines:
            write_wav(aside / line.path, speak(line, f"{corpus}/{line.speaker}", script.sample_rate), script.sample_rate)
        for path, content in {**script.tables(lines), SYNTHETIC_MARK: NOTICE.encode()}.items():
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
        file.writeframes(np.round(samples * (FULL_SCALE - 1)).astype(SAMPLE_TYPE).tobytes())
