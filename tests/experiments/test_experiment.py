"""What can be wrong with an experiment is refused before anything is computed."""

from pathlib import Path

import pytest
from transformers import AutoConfig

from ser_mlops.errors import SettingsError
from ser_mlops.experiments.experiment import Experiment, _check_feature_norm, _check_hearing
from ser_mlops.experiments.plan import plan_trainings
from ser_mlops.models.families.registry import families
from ser_mlops.models.location import heard_seconds
from ser_mlops.settings.reading import read_settings
from tests.builders import tiny_frame
from tests.models.contract import write_family
from tests.project import ROOT


def experiment_of(seconds: float = 0.5, **given: str) -> Experiment:
    """Three folds of a corpus, whose last clip lasts so long."""
    frame = tiny_frame("A", {f"A{fold}": fold for fold in range(3)})
    frame["num_samples"] = 8000
    frame.loc[frame.index[-1], "num_samples"] = int(seconds * 16000)
    settings = read_settings(ROOT / "params.yaml", {f"train.{name}": value for name, value in {"test_dataset": "A", **given}.items()})
    train = settings.train
    trainings = plan_trainings(
        {"A": frame},
        experiment_type=train.experiment_type,
        train_datasets=(),
        test_dataset="A",
        test_split_source=None,
        fold=2,
        validation_share=train.validation_share,
        seed=train.seed,
    )
    return Experiment(settings, trainings, {}, False)


def test_a_test_clip_of_which_whisper_would_hear_the_beginning_alone_is_refused_before_the_training(tmp_path: Path) -> None:
    model = str(write_family(tmp_path / "whisper", "whisper"))  # hears one second
    config = AutoConfig.from_pretrained(model)
    assert heard_seconds(model) == families()["whisper"].max_seconds(config) == 1.0
    with pytest.raises(SettingsError, match=r"has 1.5 s, of which .* hears 1: set max_seconds=1 and evaluate_long=windows"):
        _check_hearing(experiment_of(1.5, model=model))
    with pytest.raises(SettingsError, match="evaluate_long=windows"):
        _check_hearing(experiment_of(1.5, model=model, max_seconds="1"))
    _check_hearing(experiment_of(1.5, model=model, max_seconds="1", evaluate_long="windows"))
    _check_hearing(experiment_of(1.0, model=model))
    _check_hearing(experiment_of(99, model="tiny"))


def test_feature_norm_is_refused_where_it_would_leave_noise_or_nothing() -> None:
    with pytest.raises(SettingsError, match=r"feature_norm=corpus needs cache_precision=float32"):
        _check_feature_norm(experiment_of(model="tiny", freeze="encoder", feature_norm="corpus", cache_precision="bfloat16"))
    experiment = experiment_of(model="tiny", freeze="encoder", feature_norm="speaker")
    _check_feature_norm(experiment)
    test = experiment.trainings[0].tests["A"]
    test.loc[test.index[0], "speaker"] = "A/once"
    with pytest.raises(SettingsError, match=r"feature_norm=speaker: A/once has 1 test clip, expected at least 2 of each test speaker"):
        _check_feature_norm(experiment)
