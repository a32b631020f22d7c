"""What can be asked of the fields of params.yaml: their names, their marks and what kind of number they hold."""

import difflib
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from ser_mlops.settings.kinds import Mark, Section
from ser_mlops.settings.sections import RUN_SECTIONS, Settings
from ser_mlops.settings.training import BASELINE


def fields_of(section: str) -> list[str]:
    """Return the names of a section's settings, in order."""
    return list(model_of(section).model_fields)


def model_of(section: str) -> type[Section]:
    """Return the class of a section."""
    return Settings.model_fields[section].annotation  # type: ignore[return-value]


def names_marked(mark: Mark) -> tuple[str, ...]:
    """Return the dotted names (train.lr) of the settings that carry a mark, or whose section does, in the order of params.yaml."""
    return tuple(
        f"{section}.{key}"
        for section in RUN_SECTIONS
        for key, field in model_of(section).model_fields.items()
        if mark in (*field.metadata, *Settings.model_fields[section].metadata)
    )


def inapplicable(settings: Settings) -> frozenset[str]:
    """Return the dotted names of the settings that the model of a training does not have."""
    if settings.train.model != BASELINE:
        return frozenset(f"baseline.{key}" for key in fields_of("baseline"))
    without_kernel = ["baseline.gamma"] if settings.baseline.classifier == "logistic" else []
    return frozenset([*names_marked(Mark.NETWORK), *without_kernel])


def searched(settings: Settings) -> list[str]:
    """Return the plain names (lr) of what a sweep searches: the settings of its space that the model has."""
    unused = {name.partition(".")[2] for name in inapplicable(settings)}
    return [name for name in settings.sweep.space if name not in unused]


def near_names(name: str, accepted: Sequence[str]) -> str:
    """Return the accepted names that an unknown one may have meant, as the middle of a message; empty if none is near.

    >>> near_names("epoch", ["epochs", "lr"])
    " (did you mean 'epochs'?)"
    """
    near = difflib.get_close_matches(name.rpartition(".")[2], accepted, n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def number_kind(section: str, key: str) -> type[int] | type[float] | None:
    """Return int or float where a setting holds a number, or none; None where it holds anything else.

    >>> number_kind("train", "epochs"), number_kind("train", "clip_norm"), number_kind("train", "schedule")
    (<class 'int'>, <class 'float'>, None)
    """
    kinds = _kinds(model_of(section).model_fields[key].annotation)
    return int if kinds == {int} else float if kinds == {float} else None


def _kinds(annotation: object) -> set[object]:
    """Return the plain types that an annotation stands for, but for None."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(parts[0])
    if origin in (Union, UnionType):
        return {kind for part in parts for kind in _kinds(part)} - {type(None)}
    return {type(part) for part in parts} if origin is Literal else {annotation}
