"""The baseline's rounds equal a plain scikit-learn script, and its cached vectors equal computed ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ser_mlops.models.functionals import functionals
from ser_mlops.scores.metrics import score
from ser_mlops.training import vectors
from ser_mlops.training.baseline import BaselineRecipe, fit_baseline_round, predict_baseline
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.vectors import open_vectors, vectors_of
from tests.training.builders import make_clips

RECIPE = BaselineRecipe(features="functionals", classifier="svm", C=1.0, gamma="scale")


class Epochs:
    """A recorder that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.seen.append((epoch, dict(metrics)))


def noisy_clips(folder: Path, num_clips: int) -> Clips:
    """Clips of three emotions, a third of them mislabelled, so that nothing is learned without mistakes."""
    clips = make_clips(folder, num_clips)
    labels = clips.labels.copy()
    labels[::3] = (labels[::3] + np.arange(len(labels[::3]))) % 3
    return replace(clips, labels=labels)


def opened(clips: Clips, folder: Path) -> Features:
    return open_vectors("functionals", clips.audio, folder)


def test_scores_are_those_of_a_plain_scikit_learn_script(tmp_path: Path) -> None:
    clips = noisy_clips(tmp_path / "audio", 90)
    train, validation, test = (clips.take(np.arange(start, 90, 3)) for start in range(3))
    cached = opened(clips, tmp_path / "cache")
    recorder = Epochs()
    fitted = fit_baseline_round(RECIPE, train, validation, cached, recorder)
    logits = predict_baseline(fitted.classifier, test, cached)

    described = {
        name: np.stack([functionals(side.wave(i)) for i in range(len(side))]).astype(np.float64)
        for name, side in (("train", train), ("test", test))
    }
    plain = make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf", gamma="scale", class_weight="balanced", break_ties=True))
    plain.fit(described["train"], train.labels)
    expected = balanced_accuracy_score(test.labels, plain.predict(described["test"]))
    assert score(logits, test.labels, {0, 1, 2})["uar"] == pytest.approx(expected, abs=1e-9)
    [(epoch, metrics)] = recorder.seen
    assert epoch == fitted.best_epoch == 1
    assert metrics["val/uar"] == fitted.best_scores["uar"]


def test_rounds_are_equal_as_nothing_in_them_is_random(tmp_path: Path) -> None:
    clips = noisy_clips(tmp_path / "audio", 60)
    cached = opened(clips, tmp_path / "cache")
    train, validation = clips.take(np.arange(40)), clips.take(np.arange(40, 60))
    one, other = (fit_baseline_round(RECIPE, train, validation, cached, Epochs()) for _ in range(2))
    assert predict_baseline(one.classifier, clips, cached).tobytes() == predict_baseline(other.classifier, clips, cached).tobytes()


def test_cached_vectors_are_those_computed_and_their_bytes_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = make_clips(tmp_path / "audio", 50)
    files = []
    for cores in (1, 2):
        monkeypatch.setattr(vectors, "available_cores", lambda cores=cores: cores)
        monkeypatch.setattr(vectors, "MIN_CLIPS_PER_WORKER", 10)
        monkeypatch.setattr(vectors, "CLIPS_AT_ONCE", 8)
        cached = opened(clips, tmp_path / f"cache of {cores}")
        files.append(cached.caches["TOY"].path.read_bytes())
    assert files[0] == files[1]
    assert vectors_of(cached, clips).tobytes() == np.stack([functionals(clips.wave(i)) for i in range(len(clips))]).tobytes()
