"""The kinds of values that settings hold, as params.yaml and a command line write them, and the marks that a setting may carry."""

import re
from enum import Enum, auto
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from ser_mlops.emotions import LABELS


def split_commas(value: object) -> object:
    """Read `a,b` as two names."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def none_if_blank(value: object) -> object:
    """Read an empty word, `none` and `null` as None."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


def split_tags(value: object) -> object:
    """Read `paper=table2,note=first try, with warm-up` as two tags; a part without = goes on with the value before it."""
    if not isinstance(value, str):
        return value
    tags: dict[str, str] = {}
    for part in value.split(","):
        key, equals, text = part.partition("=")
        if equals:
            tags[key.strip()] = text.strip()
        elif tags:
            tags[[*tags][-1]] += f",{part}"
        elif part.strip():
            raise PydanticCustomError("tags", "value should be KEY=VALUE,KEY=VALUE")
    return tags


def _in_class_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Put emotions into the order of EMOTIONS; unknown ones come last."""
    return tuple(sorted(names, key=lambda name: LABELS.get(name, len(LABELS))))


def _freezing(value: object) -> object:
    """Read what is frozen; `true` is the CNN alone."""
    named = {"true": "feature_encoder", "false": "none"}
    mode = named.get(str(value).lower(), value)
    if not (isinstance(mode, str) and re.fullmatch(r"none|feature_encoder|encoder(:[1-9]\d*)?", mode)):
        raise PydanticCustomError("freeze", "value should be none, feature_encoder, encoder or encoder:K (its first K layers)")
    return mode


def _label_choice(value: object) -> object:
    """Read where labels come from: one word for all corpora, or one by corpus."""
    words = [*value.values()] if isinstance(value, dict) and value else [value]
    if not all(word in ("acted", "perceived", "votes") for word in words):
        raise PydanticCustomError("labels", "value should be acted, perceived or votes, or one of them by corpus: {CREMA: votes}")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Emotions = Annotated[Names, AfterValidator(_in_class_order)]
OptionalName = Annotated[str | None, BeforeValidator(none_if_blank)]
OptionalModelName = Annotated[Annotated[str, Field(pattern=r"^\w[\w .-]*$")] | None, BeforeValidator(none_if_blank)]
OptionalWord = Annotated[Annotated[str, Field(pattern=r"^\w[\w.-]*$")] | None, BeforeValidator(none_if_blank)]
OptionalPositive = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(none_if_blank)]
Tags = Annotated[dict[Annotated[str, Field(pattern=r"^\w[\w./ -]*$")], str], BeforeValidator(split_tags)]
SLURM_TIME = r"^(\d+-)?\d+(:\d\d){0,2}$"
Share = Annotated[float, Field(ge=0, lt=1)]
Freeze = Annotated[str, BeforeValidator(_freezing)]
Merge = Annotated[dict[str, str], BeforeValidator(split_tags)]
LabelChoice = Annotated[str | dict[str, str], BeforeValidator(_label_choice)]
Augmentations = Annotated[tuple[Literal["speed", "noise", "gain"], ...], BeforeValidator(split_commas)]
LoraTarget = Literal["query", "key", "value", "output", "feed_forward"]
LoraTargets = Annotated[tuple[LoraTarget, ...], Field(min_length=1), BeforeValidator(split_commas)]


class Mark(Enum):
    """What may be done with a setting of a training, besides giving it."""

    FREE = auto()
    """A resume may change it: no number depends on it."""
    SEARCHABLE = auto()
    """A sweep may search it: all trials share data and caches, as it changes neither who is trained on nor what is frozen."""
    NETWORK = auto()
    """Only neural networks have it: the baseline does not."""


class Section(BaseModel):
    """One section of params.yaml: every key required, no other key accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
