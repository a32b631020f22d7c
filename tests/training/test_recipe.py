"""What follows from the settings by arithmetic: learning rates, class weights, whether waveforms are needed."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from ser_mlops.settings.fields import names_marked
from ser_mlops.settings.kinds import Mark
from ser_mlops.settings.training import TrainSettings
from ser_mlops.training.recipe import Recipe
from tests.training.builders import make_clips, recipe

OUTSIDE_THE_ENGINE = {
    *(
        "experiment_type",
        "train_datasets",
        "test_dataset",
        "test_split_source",
        "fold",
        "validation_share",
        "emotions",
        "merge",
    ),  # which clips
    *("model", "seed", "rounds"),  # which round
    *("name", "tags", "recipe"),  # what the run is called
    *("cache", "cache_precision"),  # where the outputs of a frozen part come from
}
"""Settings of `train` that say what is trained and on what, not how."""


def test_the_recipe_and_the_settings_have_the_same_types_and_no_setting_is_missing() -> None:
    free = {name.removeprefix("train.") for name in names_marked(Mark.FREE)}
    settings, recipe = get_type_hints(TrainSettings), get_type_hints(Recipe)
    assert {name: _plain(settings[name]) for name in recipe} == {name: _plain(hint) for name, hint in recipe.items()}
    assert set(recipe) == set(settings) - OUTSIDE_THE_ENGINE - free


def _plain(hint: Any) -> Any:
    """What a type hint holds: Literal["none", "encoder"] is a str."""
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    if get_origin(hint) is UnionType or get_origin(hint) is Union:
        return frozenset(_plain(part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return (tuple, _plain(get_args(hint)[0]))
    return hint


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5, 1, 1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]),
    ],
)
def test_the_learning_rate_rises_over_the_warm_up_and_then_follows_the_schedule(schedule: str, expected: list[float]) -> None:
    trained = recipe(schedule=schedule, warmup=0.2, lr=0.1)
    assert [trained.learning_rate(step, 10) for step in range(10)] == pytest.approx([0.1 * share for share in expected], abs=1e-7)


def test_without_warm_up_the_first_step_has_the_whole_learning_rate() -> None:
    assert recipe(lr=0.1).learning_rate(0, 10) == 0.1


def test_balanced_weights_give_every_emotion_the_same_say_and_a_clip_one_on_average() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3] * 3)
    counts = np.bincount(labels, minlength=7)
    weights = recipe(class_weights="balanced").weigh_classes(counts)
    assert weights.tolist() == pytest.approx([12 / 18, 12 / 9, 0, 12 / 9, 0, 0, 0])
    assert weights[labels].mean() == pytest.approx(1)
    assert recipe().weigh_classes(counts).tolist() == [1] * 7


def test_class_weights_with_an_exponent_lie_between_none_and_balanced() -> None:
    labels = np.array([0] * 8 + [1] * 2 + [3] * 2)
    counts = np.bincount(labels, minlength=7)
    half = recipe(class_weights=0.5).weigh_classes(counts)
    assert half[1] / half[0] == pytest.approx(2)
    assert half[[2, 4, 5, 6]].tolist() == [0] * 4
    assert half[labels].mean() == pytest.approx(1)
    assert recipe(class_weights=1.0).weigh_classes(counts).tolist() == recipe(class_weights="balanced").weigh_classes(counts).tolist()
    assert recipe(class_weights=0.0).weigh_classes(counts).tolist() == [1] * 7


def test_balanced_weights_are_to_the_bit_clips_divided_by_emotions_times_their_clips() -> None:
    counts = np.array([7, 0, 13, 3, 101, 11, 1])
    labels = np.repeat(np.arange(7), counts)
    expected = np.where(counts > 0, len(labels) / (6 * np.maximum(counts, 1)), 0.0)
    assert recipe(class_weights="balanced").weigh_classes(counts).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"freeze": "none"}, "nothing is frozen"),
        ({"augment": ("noise",)}, "augmentation (noise) changes the waveforms"),
        ({"max_seconds": 0.25}, "clips longer than max_seconds=0.25 are cropped"),
        ({"max_seconds": 0.45}, ""),
        ({}, ""),
    ],
)
def test_a_recipe_says_why_it_needs_waveforms(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    assert recipe(**{"freeze": "encoder", **changes}).reads_waves(make_clips(tmp_path)) == reason
