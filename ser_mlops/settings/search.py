"""The settings of a sweep, and the forms in which its space is given."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ser_mlops.settings.kinds import (
    OptionalName,
    Section,
)


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


class SweepSettings(Section):
    study: OptionalName
    """Name of the study; the same name resumes it, here or on another machine. none: named after what is searched."""
    trials: Annotated[int, Field(ge=1)]
    """Trials in all; trial 0 holds the defaults."""
    workers: Annotated[int, Field(ge=1)]
    """Processes on this machine that run trials side by side."""
    storage: OptionalName
    """Database of the study (postgresql://…), for workers on several machines; none: a journal file under paths.studies."""
    sampler: Literal["tpe", "random"]
    """tpe: learns from finished trials; random: does not."""
    startup_trials: Annotated[int, Field(ge=1)]
    """Random trials before tpe begins to learn."""
    pruner: Literal["none", "median", "wilcoxon"]
    """Stops trials early: median compares epochs, wilcoxon finished rounds. A pruned trial has no value and cannot win."""
    space: Mapping[str, Spread]
    """What is searched: any setting of `train` or `baseline`, as {low, high, log} or {choices}; those that the model has count."""
