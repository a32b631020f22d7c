"""The settings of a sweep, with the forms in which its space is given, and of a survey."""

from collections.abc import Mapping
from io import StringIO
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser_mlops.settings.kinds import Names, OptionalName, OptionalWord, Section


class Range(Section):
    low: float
    high: float
    log: bool
    """Whether the search is even on a logarithmic scale."""


class Choices(Section):
    choices: tuple[Any, ...]


def _kind_of_spread(value: object) -> str | None:
    keys = set(value) if isinstance(value, Mapping) else set(getattr(value, "__dict__", ()))
    kinds = {"range": set(Range.model_fields), "choices": set(Choices.model_fields)}
    return next((kind for kind, fields in kinds.items() if keys == fields), None)


Spread = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(_kind_of_spread, "spread", "Input should be {low, high, log} or {choices: [...]}"),
]


def _read_yaml(value: object) -> object:
    """Read the space as a shell gives it: a word that holds YAML."""
    if not isinstance(value, str):
        return value
    try:
        content = YAML(typ="safe", pure=True).load(value)
    except YAMLError:
        content = None
    if not isinstance(content, dict):
        raise PydanticCustomError("yaml", "value should be YAML in quotes, such as '{lr: {low: 1.0e-6, high: 1.0e-2, log: true}}'")
    return content


def write_space(space: Mapping[str, Range | Choices]) -> str:
    """Return a space as the command line takes it, in one line.

    >>> write_space({"lr": Range(low=1e-6, high=0.01, log=True), "batch_size": Choices(choices=(2, 4))})
    '{lr: {low: 1e-06, high: 0.01, log: true}, batch_size: {choices: [2, 4]}}'
    """
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 2**16, False  # type: ignore[assignment]
    yaml.dump({name: spread.model_dump(mode="json") for name, spread in space.items()}, text)
    return text.getvalue().strip()


def _refuse_pickled(value: object) -> object:
    if value == "cmaes":
        reason = "Optuna resumes cmaes from a pickle in the study, and nothing is unpickled here"
        raise PydanticCustomError("pickled", f"value should be tpe, gp, qmc or random ({reason})")
    return value


class SweepSettings(Section):
    study: OptionalName
    """Name of the study; the same name resumes it, here or on another machine. none: named after what is searched."""
    trials: Annotated[int, Field(ge=1)]
    """Trials in all; trial 0 holds the defaults."""
    workers: Annotated[int, Field(ge=1)]
    """Processes on this machine that run trials side by side."""
    storage: OptionalName
    """Database of the study (postgresql://…), for workers on several machines; none: a journal file under paths.studies."""
    sampler: Annotated[Literal["tpe", "gp", "qmc", "random"], BeforeValidator(_refuse_pickled)]
    """tpe, gp (a Gaussian process): learn from finished trials; qmc (a Sobol sequence), random: do not."""
    startup_trials: Annotated[int, Field(ge=1)]
    """Random trials before tpe or gp begins to learn."""
    pruner: Literal["none", "median", "hyperband", "wilcoxon"]
    """Stops trials early: median and hyperband compare epochs, wilcoxon finished rounds. A pruned trial has no value and cannot win."""
    space: Annotated[Mapping[str, Spread], BeforeValidator(_read_yaml)]
    """What is searched, in YAML: settings of `train` or `baseline` with {low, high, log} or {choices}; those that the model has count."""


class SurveySettings(Section):
    models: Names
    """Models, comma-separated, as `model` of main takes them; the first is the row that the others are tested against."""
    experiment_type: Literal["within", "matrix", "cross"]
    """within: each corpus alone, over all its folds; matrix: leave one corpus out; cross: held-out folds of all."""
    survey: OptionalWord
    """Name of the survey, tag `survey` of its runs; the same name resumes it. none: named after all that its numbers depend on."""
