"""What a model says of recordings is what its evaluation and plain transformers say, whatever the batches, formats and lengths."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.special import softmax
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError, ModelError, SettingsError
from ser_mlops.models.build import load_classifier
from ser_mlops.serving.predictor import Predictor, Terms, check_format, find_audio, predict_files, save_model_folder, write_table
from ser_mlops.training.batching import Clips, cut_windows
from ser_mlops.training.distributed import join_world
from ser_mlops.training.evaluate import predict_logits
from ser_mlops.training.recipe import EvaluationRecipe
from tests.data.audio.sounds import encoded, noise, tone
from tests.models.builders import some_waves, write_checkpoint

TERMS = Terms(window_seconds=30.0, min_seconds=0.1, note="")
NAMES = list(EMOTIONS)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(load_classifier("tiny", seed=1), folder, TERMS)
    return folder


@pytest.fixture(params=["tiny", "W2V2-base", "HuB-ER", "tiny without mask"])
def any_folder(request, tmp_path) -> Path:
    """A model of each kind of architecture: layer norm, group norm, weighted layers, no attention mask."""
    alias, _, without_mask = request.param.partition(" ")
    model = "tiny" if alias == "tiny" else str(write_checkpoint(tmp_path / "checkpoint", alias))
    save_model_folder(load_classifier(model, seed=1, attention_mask=not without_mask), tmp_path / "model", TERMS)
    return tmp_path / "model"


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[NAMES].to_numpy()


def clips_of(waves: list[np.ndarray], folder: Path) -> Clips:
    """The waves as an evaluation reads them: end to end in a file."""
    np.save(folder / "A.npy", np.concatenate(waves))
    lengths = np.array([len(wave) for wave in waves])
    of_corpus = np.array(["A"] * len(waves), dtype=object)
    return Clips(
        of_corpus, np.cumsum(lengths) - lengths, lengths, np.zeros(len(waves), dtype=int), of_corpus, of_corpus, {"A": folder / "A.npy"}
    )


def evaluated(folder: Path, clips: Clips, max_samples: int | None = None) -> np.ndarray:
    """The logits of an evaluation."""
    return predict_logits(
        Predictor.open(folder).model,
        clips,
        EvaluationRecipe(16, max_samples=max_samples, evaluate_long="windows" if max_samples else "whole"),
        None,
        join_world(),
    )


# The same numbers


def test_probabilities_are_those_of_the_evaluation(any_folder, tmp_path):
    waves = some_waves(16000, 4000, 30000, 7001, 1700, 16000)
    predicted = Predictor.open(any_folder, batch_size=4).predict(waves)
    expected = softmax(evaluated(any_folder, clips_of(waves, tmp_path)).astype(float), axis=1)
    np.testing.assert_allclose(probabilities(predicted), expected, atol=1e-5)
    assert predicted["clip"].tolist() == list(range(6))


def test_probabilities_are_those_of_plain_transformers(any_folder):
    waves = some_waves(16000, 4000, 30000)
    net, extractor = (auto.from_pretrained(any_folder) for auto in (AutoModelForAudioClassification, AutoFeatureExtractor))
    classify = pipeline("audio-classification", model=str(any_folder), top_k=None)
    for wave, predicted in zip(waves, probabilities(Predictor.open(any_folder).predict(waves)), strict=True):
        values = (wave / 32768).astype(np.float32)
        with torch.no_grad():
            logits = net(**extractor(values, sampling_rate=SAMPLE_RATE, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(predicted, logits.softmax(0).numpy(), atol=1e-5)
        piped = {answer["label"]: answer["score"] for answer in classify({"raw": values, "sampling_rate": SAMPLE_RATE})}
        np.testing.assert_allclose(predicted, [piped[name] for name in NAMES], atol=1e-5)


def test_windows_of_a_long_recording_are_those_of_the_evaluation(model_folder, tmp_path):
    waves = some_waves(50_001, 16_000, 33_000)
    table = Predictor.open(model_folder, window_seconds=1.0).predict(waves)
    clips = clips_of(waves, tmp_path)
    windows, owners = cut_windows(clips, SAMPLE_RATE)
    assert table["clip"].tolist() == owners.tolist()
    np.testing.assert_allclose(probabilities(table), softmax(evaluated(model_folder, windows).astype(float), axis=1), atol=1e-5)
    means = np.log(probabilities(table))  # logits, up to what softmax forgets
    means = np.stack([means[owners == clip].mean(axis=0) for clip in range(3)])
    expected = softmax(evaluated(model_folder, clips, SAMPLE_RATE).astype(float), axis=1)
    np.testing.assert_allclose(softmax(means, axis=1), expected, atol=1e-5)


def test_windows_cover_a_recording_without_gap_or_overlap(model_folder):
    table = Predictor.open(model_folder, window_seconds=0.7).predict(some_waves(50_001))
    assert table["start"].tolist()[1:] == table["end"].tolist()[:-1]
    assert (table["start"].iloc[0], table["end"].iloc[-1]) == (0.0, 50_001 / SAMPLE_RATE)
    assert (table["end"] - table["start"]).max() <= 0.7


def test_the_size_of_batches_changes_nothing(model_folder):
    waves = some_waves(16000, 4000, 30000, 7001)
    tables = [Predictor.open(model_folder, batch_size=size).predict(waves) for size in (1, 3, 16)]
    for table in tables[1:]:
        np.testing.assert_allclose(probabilities(table), probabilities(tables[0]), atol=1e-6)


def test_the_emotion_is_the_likeliest_and_probabilities_sum_to_one(model_folder):
    table = Predictor.open(model_folder).predict(some_waves(16000, 8000))
    np.testing.assert_allclose(probabilities(table).sum(axis=1), 1.0)
    assert table["emotion"].tolist() == [NAMES[i] for i in probabilities(table).argmax(axis=1)]


def test_a_clip_shorter_than_one_step_of_the_model_has_an_answer(model_folder):
    assert len(Predictor.open(model_folder).predict(some_waves(10))) == 1


# The contract


def test_a_contract_says_what_happens_to_a_recording(model_folder):
    assert json.loads((model_folder / "contract.json").read_text()) == {
        "emotions": NAMES,
        "sample_rate": 16000,
        "channels": "mean of all",
        "resampling": "soxr HQ",
        "samples": "int16 / 32768",
        "normalisation": "zero mean and unit variance of each window",
        "attention_mask": True,
        "window_seconds": 30.0,
        "min_seconds": 0.1,
        "note": "",
        "obstacle": "",
        "joined": {},
    }


def test_a_contract_that_this_code_cannot_keep_is_refused(tmp_path):
    save_model_folder(load_classifier("tiny", seed=1), tmp_path, TERMS)
    contract = json.loads((tmp_path / "contract.json").read_text())
    (tmp_path / "contract.json").write_text(json.dumps(contract | {"sample_rate": 8000}))
    with pytest.raises(ModelError, match=r"contract.json: sample_rate is 8000, this version of ser_mlops has 16000"):
        Predictor.open(tmp_path)
    (tmp_path / "contract.json").write_text(json.dumps({name: contract[name] for name in contract if name != "note"}))
    with pytest.raises(ModelError, match=r"contract\.json lacks note"):
        Predictor.open(tmp_path)
    (tmp_path / "contract.json").write_text("{")
    with pytest.raises(ModelError, match=r"contract\.json is not valid JSON"):
        Predictor.open(tmp_path)


def test_a_folder_without_contract_is_refused(tmp_path):
    load_classifier("tiny", seed=1).save(tmp_path)
    with pytest.raises(ModelError, match=r"has no contract.json, expected the folder `transformers` or `baseline` of a logged model"):
        Predictor.open(tmp_path)


def test_weights_that_give_no_numbers_are_an_error(tmp_path):
    classifier = load_classifier("tiny", seed=1)
    torch.nn.init.constant_(classifier.net.classifier.bias, float("nan"))
    save_model_folder(classifier, tmp_path, TERMS)
    with pytest.raises(ModelError, match="not finite"):
        Predictor.open(tmp_path).predict(some_waves(16000))


# Files


def test_every_format_is_read_and_gives_the_same_answer(model_folder, tmp_path):
    wave = noise(1.0)
    formats = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
    for container, subtype in formats:
        (tmp_path / f"{subtype}.{container.lower()}").write_bytes(encoded(wave, container=container, subtype=subtype))
    table = predict_files(Predictor.open(model_folder), find_audio(tmp_path))
    assert (len(table), set(table["error"])) == (6, {""})
    whole = table[~table["file"].str.endswith(("ogg", "mp3"))]
    assert np.ptp(probabilities(whole), axis=0).max() < 1e-3


def test_rows_are_in_the_order_of_the_files_with_windows_and_errors_in_place(model_folder, tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(tone(2.5)))
    (tmp_path / "b.wav").write_bytes(b"")
    (tmp_path / "c.wav").write_bytes(encoded(tone(1.0)))
    (tmp_path / "d.wav").write_bytes(encoded(tone(0.05)))
    (tmp_path / "e.wav").write_text("no audio at all")
    table = predict_files(Predictor.open(model_folder, window_seconds=1.0), find_audio(tmp_path))
    assert list(table) == ["file", "start", "end", "emotion", *NAMES, "error"]
    assert [Path(file).name for file in table["file"]] == ["a.wav"] * 3 + ["b.wav", "c.wav", "d.wav", "e.wav"]
    assert table["error"].tolist() == ["", "", "", "empty file", "", "too short: 0.050 s, expected at least 0.1 s", "text, not audio"]
    is_bad = table["error"] != ""
    assert (table[is_bad]["emotion"] == "").all()
    assert table[is_bad][["start", "end", *NAMES]].isna().all(axis=None)
    assert table[~is_bad][["start", "end", *NAMES]].notna().all(axis=None)


def test_a_folder_of_bad_files_alone_has_its_rows(model_folder, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    table = predict_files(Predictor.open(model_folder), find_audio(tmp_path))
    assert (len(table), table["error"].tolist()) == (1, ["empty file"])


def test_chunks_change_nothing(model_folder, tmp_path, monkeypatch):
    for number in range(7):
        content = encoded(noise(0.2 + number % 3, seed=number)) if number != 4 else b"RIFF"
        (tmp_path / f"{number}.wav").write_bytes(content)
    predictor, files = Predictor.open(model_folder, window_seconds=1.0), find_audio(tmp_path)
    whole = predict_files(predictor, files)
    for name, value in (("CHUNK_FILES", 2), ("CHUNK_SECONDS", 1.0)):
        with monkeypatch.context() as patch:
            patch.setattr(f"ser_mlops.serving.predictor.{name}", value)
            pd.testing.assert_frame_equal(predict_files(predictor, files), whole, atol=1e-6)


def test_answers_for_files_are_those_for_their_samples(model_folder, tmp_path):
    content = encoded(noise(1.3, rate=44_100), rate=44_100, subtype="PCM_24")
    (tmp_path / "a.wav").write_bytes(content)
    predictor = Predictor.open(model_folder)
    of_file, of_samples = predict_files(predictor, [tmp_path / "a.wav"]), predictor.predict([decode(content).samples])
    assert (probabilities(of_file) == probabilities(of_samples)).all()


def test_files_are_found_by_suffix_in_every_folder_and_hidden_ones_passed_over(tmp_path):
    for name in ("b.WAV", "sub/a.flac", "sub/._a.flac", ".hidden/c.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)] == ["b.WAV", "sub/a.flac"]
    assert find_audio(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]  # named, so it is meant


def test_no_audio_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"holds no audio, expected files that end in .wav, "):
        find_audio(tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        find_audio(tmp_path / "missing.wav")


def test_names_that_are_no_text_stand_in_every_table(model_folder, tmp_path):
    name = b"caf\xe9.wav"
    path = tmp_path / name.decode("utf-8", "surrogateescape")
    soundfile.write(tmp_path / "plain.wav", tone(1.0), SAMPLE_RATE)
    (tmp_path / "plain.wav").rename(path)
    table = predict_files(Predictor.open(model_folder), [path])
    for output in (tmp_path / "t.csv", tmp_path / "t.parquet"):
        write_table(table, output)
    assert pd.read_csv(tmp_path / "t.csv")["file"].tolist() == table["file"].tolist()
    assert pd.read_parquet(tmp_path / "t.parquet")["file"].tolist() == table["file"].tolist()


def test_a_table_of_another_format_is_refused():
    with pytest.raises(SettingsError, match=r"output=t.xlsx: unknown format '.xlsx', expected one of: .csv, .parquet"):
        check_format(Path("t.xlsx"))
    check_format(Path("t.csv"))
