"""A model as a function answers as `predict` does."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.errors import DataError
from ser_mlops.models.build import load_classifier
from ser_mlops.serving.loading import load
from ser_mlops.serving.predictor import Predictor, Terms, predict_files, save_model_folder
from tests.data.audio.sounds import encoded, noise, tone

TERMS = Terms(window_seconds=2.0, min_seconds=0.1, note="")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(load_classifier("tiny", seed=1), folder, TERMS)
    return folder


@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_a_model_says_of_a_wave_and_of_its_file_what_predict_says(model_folder, tmp_path, seconds):
    wave, file = noise(seconds, 44100), tmp_path / "a.wav"
    file.write_bytes(encoded(wave, 44100, subtype="FLOAT"))
    expected = predict_files(Predictor.open(model_folder), [file]).drop(columns=["file", "error"])
    model = load(str(model_folder))
    for answer in (model(wave, 44100), model(wave.tolist(), 44100), model(file), model(str(file))):
        pd.testing.assert_frame_equal(answer, expected, check_dtype=False)


def test_shorter_windows_can_be_asked_for(model_folder):
    assert len(load(str(model_folder), window_seconds=0.5)(tone(2.0), 16000)) == 4


def test_a_wave_without_rate_and_one_that_is_too_short_are_refused(model_folder):
    model = load(str(model_folder))
    with pytest.raises(DataError, match="samples have no rate, expected rate=44100, say"):
        model(tone(1.0))
    with pytest.raises(BadAudio):
        model(tone(0.05), 16000)


def test_a_model_says_what_it_was_trained_on(tmp_path):
    save_model_folder(load_classifier("tiny", seed=1), tmp_path, replace(TERMS, note="synthetic data"))
    model = load(str(tmp_path))
    assert model.note == "synthetic data"
    assert repr(model) == f"<model {tmp_path}, trained on synthetic data>"
