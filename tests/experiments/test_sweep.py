"""What a sweep may search, and what its study is named after; nothing is trained."""

from pathlib import Path

import pytest

from ser_mlops.errors import SettingsError
from ser_mlops.experiments.sweep import command_for
from ser_mlops.experiments.trials import Inputs
from ser_mlops.settings.search import Choices, Range
from tests.experiments.builders import furnish, sweep_of


@pytest.fixture
def furnished(tmp_path, monkeypatch) -> Path:
    """A project with one corpus, as the working directory."""
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_without_a_name_is_named_after_what_it_depends_on(furnished):
    names = {
        sweep_of(**given).name
        for given in (
            {"sweep__study": ""},
            {"sweep__study": "", "train__epochs": "4"},
            {"sweep__study": "", "md5": "2" * 32},
            {"sweep__study": "", "sweep__sampler": "random"},
            {"sweep__study": "", "space": {"lr": Range(low=1e-5, high=1e-2, log=True)}},
        )
    }
    assert len(names) == 5
    assert sweep_of(sweep__study="", sweep__trials="9", sweep__workers="2", paths__cache="elsewhere").name in names


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "sweep.space has no setting of model=tiny, expected some of: layers, epochs, lr, weight_decay"),
        ({"lr": Range(low=1e-2, high=1e-6, log=True)}, "sweep.space.lr: low 0.01 and high 1e-06 are not a range, expected 0 < low < high"),
        ({"lr": Range(low=1e-3, high=1e-3, log=False)}, "sweep.space.lr: low 0.001 and high 0.001 are not a range, expected low < high"),
        ({"weight_decay": Range(low=0, high=0.1, log=True)}, "sweep.space.weight_decay: low 0 and high 0.1 are not a range"),
        (
            {"learning_rate": Range(low=0, high=1, log=False)},
            "sweep.space: unknown setting 'learning_rate', expected one of: layers, epochs, lr, weight_decay",
        ),
        ({"model": Choices(choices=("HuB-LL", "tiny"))}, "sweep.space: unknown setting 'model'"),
        ({"schedule": Range(low=0, high=1, log=False)}, "sweep.space.schedule: a range of numbers is not accepted, expected choices"),
        ({"schedule": Choices(choices=("constant", "cosin"))}, "sweep.space: train.schedule: cosin is not accepted, expected"),
        ({"batch_size": Range(low=1.5, high=8, log=False)}, "sweep.space: train.batch_size: 1.5 is not accepted, expected"),
        ({"batch_size": Choices(choices=())}, "sweep.space.batch_size: choices is empty"),
        ({"lr": Range(low=-1, high=1, log=False)}, "sweep.space: train.lr: -1.0 is not accepted, expected"),
        ({"lr": Range(low=1e-6, high=1e-4, log=True)}, "sweep.space.lr does not contain the default 0.003, which trial 0 uses"),
        ({"batch_size": Choices(choices=(2, 4))}, "sweep.space.batch_size does not contain the default 8"),
        ({"clip_norm": Range(low=1, high=2, log=False)}, "sweep.space.clip_norm does not contain the default None"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_is_computed(furnished, space, message):
    with pytest.raises(SettingsError) as refusal:
        sweep_of(space)
    assert str(refusal.value).startswith(message)
    assert not (furnished / "studies").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sweep__sampler": "annealing"}, "sampler=annealing is not accepted, expected 'tpe', 'gp', 'qmc' or 'random'"),
        ({"sweep__pruner": "wilcoxon"}, "pruner=wilcoxon compares rounds and cannot stop a trial of 2: set rounds to 4 or more"),
        ({"sweep__study": "../s"}, r"study=\.\./s is not accepted, expected a name that a file can have"),
        ({"train__register": "ser"}, "a sweep registers no model: give register with the command that trains with its best settings"),
        ({"train__resume": "abc"}, "the same command resumes a sweep: give it again, without resume"),
    ],
)
def test_wrong_settings_are_refused(furnished, given, message):
    with pytest.raises(SettingsError, match=message):
        sweep_of(**given)


def test_the_command_of_the_best_settings_names_the_recipe_and_what_differs_from_it(furnished):
    sweep = sweep_of({"lr": Range(low=1e-5, high=1.0, log=True)}, train__recipe="strong", train__schedule="constant")
    words = command_for(sweep, {"lr": 1e-5}).split()
    assert {"recipe=strong", "schedule=constant", "freeze=encoder"} <= set(words)
    assert not any(word.startswith(("lr=", "head_lr=", "clip_norm=")) for word in words), "the recipe has them"


def test_trials_over_other_layers_read_other_outputs_opened_once(furnished):
    sweep, inputs = sweep_of({"layers": Choices(choices=("checkpoint", "all"))}), Inputs()
    last, every, again = (inputs.of(sweep.with_values({"layers": layers})) for layers in ("checkpoint", "all", "all"))
    assert (last.get("TESS", 0).shape, every.get("TESS", 0).shape) == ((1, 24), (3, 24))
    assert again is every


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "nonsense", "oracle://there"])
def test_a_storage_that_cannot_be_opened_is_named(furnished, url):
    with pytest.raises(SettingsError, match=f"storage={url} cannot be opened .*, expected a URL such as postgresql://"):
        sweep_of(sweep__storage=url).study()
