"""The synthetic demo corpora are deterministic and read like the real ones."""

import re
import wave
from pathlib import Path

import numpy as np
import pytest

from ser_mlops.data.corpora.catalogue import catalogue
from ser_mlops.data.corpora.registry import CORPORA
from ser_mlops.data.corpora.scan import scan
from ser_mlops.data.demo.scripts import SCRIPTS
from ser_mlops.data.demo.voices import Line, rms, speak
from ser_mlops.data.demo.writing import write_demo
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError

RULES = {"calm": "neutral", "contempt": "drop", "labels": "acted", "ties": "drop"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """All seven demo corpora with their tables and empty audio files: names are what is tested."""
    folder = tmp_path_factory.mktemp("demo")
    for corpus, script in SCRIPTS.items():
        files = {line.path: b"" for line in script.lines()} | script.tables(script.lines())
        for path, content in files.items():
            (folder / corpus / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / corpus / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_demo_name_is_read_by_its_corpus(raw, corpus):
    found = scan(raw, CORPORA[corpus], imported=raw / "nothing")
    assert [item.reason for item in found.found if item.reason] == []
    table = catalogue(CORPORA[corpus], found, RULES)
    expected = {emotion for emotion in CORPORA[corpus].emotions.values() if emotion in EMOTIONS}
    assert set(table["emotion"]) - {""} == expected


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_demo_speaker_speaks_every_emotion(raw, corpus):
    table = catalogue(CORPORA[corpus], scan(raw, CORPORA[corpus], imported=raw / "nothing"), RULES)
    spoken = table[table["emotion"] != ""].groupby("group")["emotion"].nunique()
    assert (spoken == table.loc[table["emotion"] != "", "emotion"].nunique()).all()


@pytest.mark.parametrize("corpus", CORPORA)
def test_demo_speakers_fill_the_folds(raw, corpus):
    facts = CORPORA[corpus]
    table = catalogue(facts, scan(raw, facts, imported=raw / "nothing"), RULES)
    if facts.num_folds == 0:
        assert set(table["part"]) == {"train", "validation", "test1", "test2"}
    elif facts.fold_table:
        folds = {facts.fold_table[speaker.partition("/")[2]] for speaker in table["speaker"]}
        assert folds == set(range(facts.num_folds))
    else:
        assert table["group"].nunique() >= facts.num_folds


def test_two_runs_write_the_same_bytes(tmp_path):
    for place in ("one", "two"):
        write_demo("EMOFILM", tmp_path / place)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == len(SCRIPTS["EMOFILM"].lines()) + 2
    assert "Synthetic" in (tmp_path / "one" / "SYNTHETIC.txt").read_text()
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_a_demo_corpus_is_short_clips_of_its_sampling_rate(tmp_path):
    write_demo("TESS", tmp_path / "TESS")
    lengths = []
    for path in (tmp_path / "TESS").rglob("*.wav"):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24414, 1, 2)
            lengths.append(file.getnframes() / file.getframerate())
    assert min(lengths) > 0.5
    assert max(lengths) < 1.6


def pitch_of(samples: np.ndarray, sample_rate: int) -> float:
    """Return the fundamental in Hz: the lag of the highest autocorrelation between 60 and 500 Hz."""
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    correlation = np.fft.irfft(spectrum)[sample_rate // 500 : sample_rate // 60]
    return sample_rate / (sample_rate // 500 + int(correlation.argmax()))


def test_emotions_differ_in_pitch_more_than_speakers_do():
    def spoken_by(actor: str, emotion: str) -> np.ndarray:
        return speak(Line(f"{actor}.wav", actor, "male", emotion, "text"), actor, 16000)

    spoken = {emotion: [pitch_of(spoken_by(str(actor), emotion), 16000) for actor in range(6)] for emotion in ("sad", "neutral", "happy")}
    assert max(spoken["sad"]) < min(spoken["neutral"])
    assert max(spoken["neutral"]) < min(spoken["happy"])
    assert len({round(pitch) for pitch in spoken["neutral"]}) > 1


def test_samples_fit_in_sixteen_bits():
    samples = speak(Line("a.wav", "1", "female", "angry", "text"), "CREMA/1", 16000)
    assert 0.5 < np.abs(samples).max() <= 0.95
    assert rms(samples) > 0.02


def test_an_unknown_demo_corpus_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=re.escape("unknown demo corpus 'RAVDES', expected one of: CAFE, CREMA")):
        write_demo("RAVDES", tmp_path / "RAVDES")
