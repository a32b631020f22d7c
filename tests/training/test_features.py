"""Cached outputs of frozen parts equal computed ones, their bytes depend on nobody, and damage is noticed."""

import json
import logging
import pickle
import resource
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from pipelines import cache
from ser_mlops.errors import DataError, SettingsError, TrainingError
from ser_mlops.models.build import load_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.training import cache_folder, caches, features, filling
from ser_mlops.training.cache_folder import clear_cache, list_caches
from ser_mlops.training.caches import Features
from ser_mlops.training.embeddings import every_layer, open_layers
from ser_mlops.training.features import open_features, stage_of
from ser_mlops.training.vectors import open_vectors
from tests.models.builders import some_waves, write_checkpoint

MODES = ("encoder", "feature_encoder", "encoder:1")
LENGTHS = (5000, 16000, 900, 12000, 7000, 7000, 100)


def write_audio(folder: Path, corpus: str = "TOY", lengths: tuple[int, ...] = LENGTHS, defect: int | None = None) -> Path:
    """Write an audio file and its index, as the audio stage does."""
    waves = some_waves(*lengths)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{corpus}.npy", np.concatenate(waves))
    pd.DataFrame(
        {
            "path": [f"{corpus}/{i}.wav" for i in range(len(waves))],
            "start": np.cumsum(lengths) - lengths,
            "num_samples": lengths,
            "sha256": [sha256(wave.tobytes()).hexdigest() for wave in waves],
            "defect": ["silent" if i == defect else "" for i in range(len(waves))],
        }
    ).to_parquet(folder / f"{corpus}.parquet")
    return folder / f"{corpus}.npy"


def open_toy(classifier: EmotionClassifier, mode: str, folder: Path, precision: str = "float32", **audio: Any) -> Features:
    opened = open_features(classifier, mode, {"TOY": write_audio(folder / "audio", **audio)}, folder / "cache", precision, "require", "cpu")
    assert opened is not None
    return opened


@pytest.fixture(params=["tiny", "HuB-LL", "HuB-ER", "W2V2-base", "DistilHubert"])
def classifier(request: pytest.FixtureRequest, tmp_path: Path) -> EmotionClassifier:
    model = "tiny" if request.param == "tiny" else str(write_checkpoint(tmp_path / "model", request.param, mask_time_prob=0.5))
    return load_classifier(model, seed=1)


@pytest.mark.parametrize("mode", MODES)
def test_cached_equals_recomputed_in_logits_and_gradients(classifier: EmotionClassifier, mode: str, tmp_path: Path) -> None:
    cached = open_toy(classifier, mode, tmp_path)
    classifier.freeze(mode)
    if mode == "encoder":
        classifier.train()  # what is frozen stays in eval mode, so training mode must not matter
    waves = some_waves(*LENGTHS)
    values = [torch.from_numpy(classifier.prepare(wave)) for wave in waves]
    starts = np.cumsum(LENGTHS) - LENGTHS
    kept = [torch.from_numpy(cached.get("TOY", start).copy()) for start in starts.tolist()]
    labels = torch.arange(len(waves)) % 7
    results = []
    for rows, stage in ((values, "wave"), (kept, stage_of(cached.mode))):
        classifier.zero_grad()
        logits_BE = classifier(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]), stage)
        cross_entropy(logits_BE, labels).backward()
        gradients = {name: weight.grad.clone() for name, weight in classifier.named_parameters() if weight.grad is not None}
        results.append((logits_BE.detach(), gradients))
    (logits, gradients), (cached_logits, cached_gradients) = results
    assert torch.allclose(logits, cached_logits, rtol=0, atol=1e-5)
    assert gradients.keys() == cached_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, cached_gradients[name], rtol=0, atol=1e-5), name


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_is_half_the_size_and_agrees_within_its_tolerance(classifier: EmotionClassifier, mode: str, tmp_path: Path) -> None:
    exact, rough = (open_toy(classifier, mode, tmp_path, precision) for precision in ("float32", "bfloat16"))
    assert rough.caches["TOY"].num_bytes * 2 == exact.caches["TOY"].num_bytes
    for start in (np.cumsum(LENGTHS) - LENGTHS).tolist():
        one, other = exact.get("TOY", start), rough.get("TOY", start)
        assert one.dtype == other.dtype == np.float32
        assert one.shape == other.shape
        with torch.inference_mode():
            classifier.freeze(mode)
            steps = torch.tensor([len(one)])
            logits = [classifier(torch.from_numpy(rows.copy())[None], steps, stage_of(exact.mode)) for rows in (one, other)]
        assert torch.allclose(*logits, rtol=0, atol=2e-2)


def test_shapes_are_one_row_per_clip_or_step(tmp_path: Path) -> None:
    weighted = load_classifier(str(write_checkpoint(tmp_path / "model", "HuB-ER")), seed=1)
    assert open_toy(weighted, "encoder", tmp_path).get("TOY", 0).shape == (4, 32)
    assert open_toy(weighted, "feature_encoder", tmp_path).get("TOY", 0).shape == (int(weighted.num_steps(torch.tensor(5000))), 16)
    assert open_toy(weighted, "feature_encoder", tmp_path).get("TOY", sum(LENGTHS[:-1])).shape == (1, 16)


def fill(folder: Path, classifier: EmotionClassifier, *corpora: str) -> None:
    audio = {corpus: folder / "audio" / f"{corpus}.npy" for corpus in corpora}
    for mode in MODES:
        open_features(classifier, mode, audio, folder / "cache", "float32", "require", "cpu")


def test_the_bytes_do_not_depend_on_who_asked_first_nor_on_how_many_at_once(tmp_path: Path) -> None:
    """A process asks for one corpus, another for both in another order and with another head, then three at the same time."""
    folders = [tmp_path / run for run in ("indep", "matrix", "crowd")]
    for folder in folders:
        write_audio(folder / "audio", "ONE", LENGTHS)
        write_audio(folder / "audio", "TWO", LENGTHS[::-1])
    indep, matrix, crowd = folders
    program = "import sys; from tests.training.test_features import *; fill(Path(sys.argv[1]), load_classifier('tiny', seed=1), 'ONE')"
    subprocess.run([sys.executable, "-c", program, str(indep)], cwd=Path(__file__).parents[2], check=True)
    fill(matrix, load_classifier("tiny", seed=2), "TWO", "ONE")
    classifiers = [load_classifier("tiny", seed=seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(fill, [crowd] * 3, classifiers, ["ONE", "TWO", "ONE"], ["TWO", "ONE", "TWO"]))
    caches = [{path.name: path.read_bytes() for path in (folder / "cache").glob("*.npy")} for folder in folders]
    assert [len(cache) for cache in caches] == [3, 6, 6]
    assert caches[1] == caches[2]
    assert caches[0].items() <= caches[1].items()
    assert not list(tmp_path.rglob("*.tmp"))


def test_of_several_who_ask_at_once_one_computes_and_the_others_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = load_classifier("tiny", seed=1)
    path = open_toy(classifier, "encoder", tmp_path).caches["TOY"].path
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING), cache_folder.locked(path):
        other = pool.submit(open_toy, classifier, "encoder", tmp_path)
        while "waiting for the process that fills" not in caplog.text:
            assert not other.done()
            time.sleep(0.01)
    assert other.result(timeout=600).get("TOY", 0).shape == (1, 24)


def test_seeds_and_heads_share_a_cache_but_other_weights_audio_or_precision_do_not(tmp_path: Path) -> None:
    names = set()
    for seed in (1, 2):
        names |= {open_toy(load_classifier("tiny", seed=seed), "encoder", tmp_path).caches["TOY"].path}
    assert len(names) == 1
    written = next(iter(names)).stat().st_mtime_ns
    other = load_classifier("tiny", seed=1)
    with torch.no_grad():
        other.base.encoder.layer_norm.bias.add_(0.1)
    names |= {open_toy(other, "encoder", tmp_path).caches["TOY"].path}
    names |= {open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path, "bfloat16").caches["TOY"].path}
    names |= {open_toy(load_classifier("tiny", seed=1), "feature_encoder", tmp_path).caches["TOY"].path}
    names |= {open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path, lengths=LENGTHS[::-1]).caches["TOY"].path}
    names |= {open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path, defect=2).caches["TOY"].path}
    assert len(names) == 6
    assert min(path.stat().st_mtime_ns for path in names) == written
    cnn = {open_toy(model, "feature_encoder", tmp_path).caches["TOY"].path for model in (other, load_classifier("tiny", seed=1))}
    assert len(cnn) == 1  # the two differ above the CNN


@pytest.mark.parametrize("damage", ["altered", "truncated", "label"])
def test_a_damaged_cache_is_computed_again_and_says_so(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    classifier = load_classifier("tiny", seed=1)
    path = open_toy(classifier, "encoder", tmp_path).caches["TOY"].path
    whole = path.read_bytes()
    if damage == "altered":
        path.write_bytes(whole[:-3] + b"\0" + whole[-2:])
    elif damage == "truncated":
        path.write_bytes(whole[:-100])
    else:
        path.with_suffix(".json").write_text("{")
        caches._verified.clear()
    with caplog.at_level(logging.WARNING):
        open_toy(classifier, "encoder", tmp_path)
    assert "truncated or altered): computed again" in caplog.text
    assert path.read_bytes() == whole


def test_a_whole_cache_is_not_computed_again(tmp_path: Path) -> None:
    classifier = load_classifier("tiny", seed=1)
    cache = open_toy(classifier, "encoder", tmp_path).caches["TOY"]
    written = cache.path.stat().st_mtime_ns
    caches._verified.clear()
    assert open_toy(classifier, "encoder", tmp_path).caches["TOY"].path.stat().st_mtime_ns == written
    label = json.loads(cache.label.read_text())
    assert label["clips"] == len(LENGTHS)
    assert label["sha256"] == sha256(cache.path.read_bytes()).hexdigest()


def test_filling_leaves_the_classifier_and_the_random_state_as_they_were(tmp_path: Path) -> None:
    classifier = load_classifier("tiny", seed=1).train()
    weights, state = {name: weight.clone() for name, weight in classifier.state_dict().items()}, torch.get_rng_state()
    for precision in ("float32", "bfloat16"):
        open_toy(classifier, "encoder", tmp_path, precision)
    assert classifier.training
    assert classifier.base.encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weight, weights[name]) and weight.dtype == torch.float32 for name, weight in classifier.state_dict().items())


def test_defective_clips_are_neither_read_nor_found(tmp_path: Path) -> None:
    cached = open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path, defect=1)
    assert cached.caches["TOY"].shape[0] == len(LENGTHS) - 1
    with pytest.raises(DataError, match=r"TOY: no usable clip begins at sample 5000 of .*dvc repro"):
        cached.get("TOY", 5000)


def test_a_worker_process_is_sent_paths_not_outputs(tmp_path: Path) -> None:
    cached = open_toy(load_classifier("tiny", seed=1), "feature_encoder", tmp_path)
    before = cached.get("TOY", 0)
    sent = pickle.dumps(cached)
    assert len(sent) < 5000
    assert np.array_equal(pickle.loads(sent).get("TOY", 0), before)


def test_without_attention_mask_nothing_is_cached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    legacy, audio = load_classifier("tiny", seed=1, attention_mask=False), {"TOY": write_audio(tmp_path)}
    with caplog.at_level(logging.WARNING):
        assert open_features(legacy, "encoder", audio, tmp_path / "cache", "float32", "auto", "cpu") is None
    assert "computed without cache: without attention mask" in caplog.text
    with pytest.raises(TrainingError, match="cache=require: without attention mask"):
        open_features(legacy, "encoder", audio, tmp_path / "cache", "float32", "require", "cpu")


def test_off_means_off(tmp_path: Path) -> None:
    audio = {"TOY": write_audio(tmp_path)}
    assert open_features(load_classifier("tiny", seed=1), "encoder", audio, tmp_path / "cache", "float32", "off", "cpu") is None
    assert not (tmp_path / "cache").exists()


def test_a_disk_too_small_is_an_error_before_the_work_or_training_without_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filling, "FREE_BYTES", shutil.disk_usage(tmp_path).total)
    classifier, audio = load_classifier("tiny", seed=1), {"TOY": write_audio(tmp_path)}
    with pytest.raises(
        TrainingError,
        match=r"cache=require: the cache needs .* kB, .*cache has 0.0 kB free: set paths.cache to a larger disk, or cache_prec",
    ):
        open_features(classifier, "encoder", audio, tmp_path / "cache", "float32", "require", "cpu")
    with caplog.at_level(logging.WARNING):
        assert open_features(classifier, "encoder", audio, tmp_path / "cache", "float32", "auto", "cpu") is None
    assert "computed without cache: the cache needs" in caplog.text
    assert not list((tmp_path / "cache").iterdir())


NEEDING: dict[str, Callable[[dict[str, Path], Path], object]] = {
    "embed": lambda audio, folder: open_layers(every_layer(load_classifier("tiny", seed=1), "cpu"), audio, folder),
    "the baseline": lambda audio, folder: open_vectors("functionals", audio, folder),
    "feature_norm": lambda audio, folder: open_features(load_classifier("tiny", seed=1), "encoder", audio, folder, "float32", None, "cpu"),
}
"""Who cannot do without a cache, has no setting `cache` to say so, and takes float32 alone."""


@pytest.mark.parametrize("fill", NEEDING.values(), ids=NEEDING)
def test_who_needs_a_cache_is_told_of_no_setting_that_would_not_help(
    fill: Callable[[dict[str, Path], Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "FREE_BYTES", shutil.disk_usage(tmp_path).total)
    with pytest.raises(TrainingError, match=r"^the cache needs .* kB, .*cache has 0.0 kB free: set paths.cache to a larger disk$"):
        fill({"TOY": write_audio(tmp_path)}, tmp_path / "cache")


def test_a_cache_in_bfloat16_is_not_advised_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "FREE_BYTES", shutil.disk_usage(tmp_path).total)
    with pytest.raises(TrainingError, match=r"set paths.cache to a larger disk$"):
        open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path, "bfloat16")


def test_a_file_that_cannot_grow_leaves_nothing_half_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files stops the writing half-way, as a full disk or a quota does."""
    audio = {"TOY": write_audio(tmp_path, lengths=(160_000,) * 4)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with caplog.at_level(logging.WARNING):
            opened = open_features(load_classifier("tiny", seed=1), "feature_encoder", audio, tmp_path / "cache", "float32", "auto", "cpu")
        with pytest.raises(
            TrainingError,
            match=r"cache=require: .*cache is full \(File too large\), the cache needs .* MB: set paths.cache to a larger disk, or cac",
        ):
            open_features(load_classifier("tiny", seed=1), "feature_encoder", audio, tmp_path / "cache", "float32", "require", "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert opened is None
    assert "computed without cache: " in caplog.text
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


@pytest.mark.parametrize(
    ("mode", "precision", "policy", "message"),
    [
        ("none", "float32", "auto", "unknown cached part 'none', expected one of: encoder, feature_encoder"),
        ("encoder", "float16", "auto", "unknown cache precision 'float16', expected one of: float32, bfloat16"),
        ("encoder", "float32", "maybe", "unknown cache 'maybe', expected one of: auto, require, off"),
    ],
)
def test_unknown_words_are_answered_with_those_accepted(tmp_path: Path, mode: str, precision: str, policy: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_features(load_classifier("tiny", seed=1), mode, {"TOY": write_audio(tmp_path)}, tmp_path, precision, policy, "cpu")


def test_memory_that_runs_out_ends_with_advice_and_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(EmotionClassifier, "pooled", run_out)
    with pytest.raises(TrainingError, match=r"out of memory computing .* frozen part for TOY: set cache_precision=bfloat16.*allocate 2"):
        open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path)
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_memory_holds_a_batch_not_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(features.BATCH_SAMPLES, "cpu", 32000)
    classifier = load_classifier("tiny", seed=1)
    peaks = []
    for num_clips in (10, 10, 80):  # the first is there to import and to warm up
        folder = tmp_path / str(len(peaks))
        audio = {"TOY": write_audio(folder, lengths=(32000,) * num_clips)}
        tracemalloc.start()
        open_features(classifier, "feature_encoder", audio, folder / "cache", "float32", "require", "cpu")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_batches_hold_clips_of_like_length_within_their_budget() -> None:
    lengths = np.sort(np.random.default_rng(1).integers(1000, 90_000, 300))[::-1]
    plan = caches.Plan(Path("x"), np.arange(300), lengths, np.ones(300, np.int64), "")
    batches = list(plan.batches(80_000))
    assert np.array_equal(np.concatenate(batches), np.arange(300))
    assert all(len(batch) == 1 or len(batch) * lengths[batch[0]] <= 80_000 for batch in batches)
    assert any(len(batch) > 5 for batch in batches)
    filled_up = list(plan.batches(80_000, filled_up=40_000))
    assert max(map(len, filled_up)) == 2, "Whisper computes as much of a short clip as of a long one"


def test_caches_are_listed_and_cleared_and_leftovers_too(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    path = open_toy(load_classifier("tiny", seed=1), "encoder", tmp_path).caches["TOY"].path
    (folder / ".OTHER-encoder-float32-0123.npy.77.abcdef01.tmp").write_bytes(b"half")
    unfinished, whole = sorted(list_caches(folder), key=lambda entry: bool(entry.label))
    assert (whole.name, whole.label["corpus"], whole.num_bytes > path.stat().st_size) == (path.stem, "TOY", True)
    assert (unfinished.label, unfinished.num_bytes) == ({}, 4)
    with cache_folder.locked(path):
        assert not clear_cache(whole)
    assert clear_cache(whole)
    assert clear_cache(unfinished)
    assert list(folder.iterdir()) == []


def test_the_command_lists_and_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    audio = {corpus: write_audio(tmp_path / "audio", corpus) for corpus in ("ONE", "TWO")}
    open_features(load_classifier("tiny", seed=1), "encoder", audio, tmp_path / "cache", "float32", "require", "cpu")
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cache", *words])
        cache.main()
        return capsys.readouterr().out

    assert "7 clips of ONE, encoder, float32" in run()
    assert "removed" in run("clear", "--corpus", "ONE")
    assert [entry.label["corpus"] for entry in list_caches(tmp_path / "cache")] == ["TWO"]
    assert run("clear").endswith("1 cache cleared from cache\n")
    assert run() == "no caches in cache\n"


@pytest.mark.parametrize("mode", ["encoder", "feature_encoder"])
def test_a_cache_has_the_same_bytes_in_any_number_of_threads(tmp_path: Path, mode: str) -> None:
    audio = {"TOY": write_audio(tmp_path / "audio")}
    bytes_of = {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            classifier = load_classifier("tiny", seed=1)
            opened = open_features(classifier, mode, audio, tmp_path / f"cache{threads}", "float32", "require", "cpu")
            assert opened is not None
            assert torch.get_num_threads() == threads
            path = opened.caches["TOY"].path
            bytes_of[threads] = (path.name, path.read_bytes())
    finally:
        torch.set_num_threads(1)
    assert bytes_of[1] == bytes_of[2] == bytes_of[3]
