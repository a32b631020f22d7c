"""What a sweep searches: the settings that vary, their ranges, and the study that remembers the trials; checked before anything runs."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ser_mlops.errors import SettingsError, one_of
from ser_mlops.experiments.experiment import Experiment, check_adapter, check_model
from ser_mlops.experiments.study import Study, open_study
from ser_mlops.experiments.study_search import Search
from ser_mlops.scores.metrics import LOWER_IS_BETTER
from ser_mlops.seeds import derive
from ser_mlops.settings.fields import inapplicable, names_marked, number_kind
from ser_mlops.settings.kinds import Mark
from ser_mlops.settings.reading import applicable_settings, flatten_settings, read_settings, with_values
from ser_mlops.settings.search import Choices, Range, SweepSettings
from ser_mlops.tracking.names import STUDY_TAG, TITLE_TAG

SEARCHABLE = {name.partition(".")[2]: name for name in names_marked(Mark.SEARCHABLE)}
"""Settings by plain name (lr) -> dotted name (train.lr)."""
MIN_WILCOXON_ROUNDS = 4
"""With fewer pairs, the test's p value cannot fall below the pruner's threshold of 0.1."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep searches, checked."""

    experiment: Experiment
    settings: SweepSettings

    @property
    def name(self) -> str:
        """Name the study: as given, or after all that it depends on, so that the same command resumes the same study."""
        return self.settings.study or f"sweep-{derive(0, json.dumps(self.identity(), sort_keys=True)):016x}"

    @property
    def metric(self) -> str:
        return self.experiment.settings.train.select_by

    @property
    def value_name(self) -> str:
        return f"best/val_{self.metric}"

    @property
    def epochs_per_round(self) -> int:
        """The most epochs that a trial may draw: the reports of a round are numbered from a multiple of it."""
        spread = self.settings.space.get("epochs")
        if spread is None:
            return self.experiment.settings.train.epochs
        return int(spread.high) if isinstance(spread, Range) else max(spread.choices)

    @property
    def checkpoints(self) -> Path:
        return Path(self.experiment.settings.paths.checkpoints)

    def identity(self) -> dict[str, str]:
        """Return what a study must agree with to be resumed: space, sampler and all that the trainings depend on."""
        space = {f"space of {name}": str(spread) for name, spread in self.settings.space.items()}
        searched = {name: str(getattr(self.settings, name)) for name in ("sampler", "startup_trials", "pruner")}
        return self.experiment.identity() | searched | space

    def tags(self) -> dict[str, str]:
        return self.experiment.tags() | {"kind": "sweep", STUDY_TAG: self.name}

    @property
    def run_name(self) -> str:
        """The name of the parent run: the user's, or what is swept in words."""
        return self.experiment.settings.train.name or f"sweep {self.experiment.name}"

    def tags_of_parent(self) -> dict[str, str]:
        return self.tags() | {TITLE_TAG: f"sweep {self.experiment.name}"}

    def defaults(self) -> dict[str, Any]:
        settings = flatten_settings(self.experiment.settings)
        return {name: settings[SEARCHABLE[name]] for name in self.settings.space}

    def with_values(self, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment with other settings; trainings stay the same, as nothing they depend on can be searched."""
        dotted = {SEARCHABLE[name]: value for name, value in values.items()}
        return replace(self.experiment, settings=with_values(self.experiment.settings, dotted, "sweep.space"))

    def study(self) -> Study:
        search = Search(
            space=self.settings.space,
            integers=frozenset(name for name, dotted in SEARCHABLE.items() if number_kind(*dotted.split(".")) is int),
            sampler=self.settings.sampler,
            startup_trials=self.settings.startup_trials,
            pruner=self.settings.pruner,
            steps=self.experiment.settings.train.rounds * self.epochs_per_round,
            seed=self.experiment.settings.train.seed,
        )
        return open_study(
            self.name,
            search,
            maximize=self.metric not in LOWER_IS_BETTER,
            identity=self.identity(),
            storage=self.settings.storage,
            folder=Path(self.experiment.settings.paths.studies),
        )


def prepare_sweep(experiment: Experiment, settings: SweepSettings) -> Sweep:
    """Check a sweep before anything is computed.

    Raises:
        SettingsError: the space is empty or wrong, or the command means several trainings.
    """
    train = experiment.settings.train
    if train.resume is not None:
        raise SettingsError("the same command resumes a sweep: give it again, without resume")
    if train.register is not None:
        raise SettingsError("a sweep registers no model: give register with the command that trains with its best settings")
    if len(experiment.trainings) > 1:
        raise SettingsError(f"a sweep tunes one training, this command means {len(experiment.trainings)}: choose one fold or test corpus")
    if settings.study is not None and Path(settings.study).name != settings.study:
        raise SettingsError(f"study={settings.study} is not accepted, expected a name that a file can have")
    if settings.pruner == "wilcoxon" and train.rounds < MIN_WILCOXON_ROUNDS:
        raise SettingsError(
            f"pruner=wilcoxon compares rounds and cannot stop a trial of {train.rounds}: set rounds to {MIN_WILCOXON_ROUNDS} "
            "or more, or pruner=median"
        )
    if settings.sampler == "gp" and settings.pruner != "none":
        raise SettingsError(
            f"sampler=gp learns from complete trials alone, and would propose again what pruner={settings.pruner} has stopped: "
            "set pruner=none, or sampler=tpe, which learns from pruned trials too"
        )
    unused = inapplicable(experiment.settings)
    space = {name: spread for name, spread in settings.space.items() if SEARCHABLE.get(name) not in unused}
    if not space:
        expected = ", ".join(name for name, dotted in SEARCHABLE.items() if dotted not in unused)
        raise SettingsError(f"sweep.space has no setting of model={train.model}, expected some of: {expected}")
    sweep = Sweep(experiment, settings.model_copy(update={"space": space}))
    for name, spread in space.items():
        _check_spread(sweep, name, spread)
    return sweep


def _check_spread(sweep: Sweep, name: str, spread: Range | Choices) -> None:
    if name not in SEARCHABLE:
        raise SettingsError(f"sweep.space: {one_of('setting', name, SEARCHABLE)}")
    default = sweep.defaults()[name]
    if isinstance(spread, Choices):
        values, has_default = list(spread.choices), default in spread.choices
        if not values:
            raise SettingsError(f"sweep.space.{name}: choices is empty")
    else:
        if number_kind(*SEARCHABLE[name].split(".")) is None:
            raise SettingsError(f"sweep.space.{name}: a range of numbers is not accepted, expected choices: [...]")
        if not spread.low < spread.high or (spread.log and spread.low <= 0):
            expected = "0 < low < high" if spread.log else "low < high"
            raise SettingsError(f"sweep.space.{name}: low {spread.low:g} and high {spread.high:g} are not a range, expected {expected}")
        values, has_default = [spread.low, spread.high], default is not None and spread.low <= default <= spread.high
    for value in values:
        chosen = sweep.with_values({name: value})
        if chosen.is_baseline:
            check_model(chosen.settings)
        check_adapter(chosen.settings)
    if not has_default:
        raise SettingsError(f"sweep.space.{name} does not contain the default {default}, which trial 0 uses: widen it, or give {name}")


def describe_values(values: Mapping[str, Any]) -> str:
    """Name settings with their values, numbers to three digits.

    >>> describe_values({"lr": 0.00123456, "schedule": "cosine"})
    'lr 0.00123, schedule cosine'
    """
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())


def command_for(sweep: Sweep, best: Mapping[str, Any]) -> str:
    """Return the `mlflow run` line that trains with the best settings: all that differs from params.yaml, or from its recipe."""
    settings = sweep.with_values(best).settings
    recipe = {"train.recipe": settings.train.recipe} if settings.train.recipe else {}
    defaults = flatten_settings(read_settings(given=recipe)) | {"train.recipe": None}
    chosen = applicable_settings(settings)
    plain = {name: name.removeprefix("train.").removeprefix("baseline.") for name in chosen}
    given = [f"{plain[name]}={_as_word(value)}" for name, value in chosen.items() if value != defaults[name]]
    return " ".join(["mlflow run .", *(f"-P {shlex.quote(word)}" for word in given)])


def _as_word(value: object) -> str:
    """Write a value as the command line reads it."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={word}" for key, word in value.items())
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
