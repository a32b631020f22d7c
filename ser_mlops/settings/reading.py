"""Reads and writes settings: params.yaml checked as a whole, and every mistake in it explained in one line."""

import re
from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import SettingsError
from ser_mlops.settings.fields import fields_of, inapplicable, near_names
from ser_mlops.settings.recipes import apply_recipe
from ser_mlops.settings.sections import RUN_SECTIONS, SHARED_SECTIONS, Settings

PARAMS_FILE = Path("params.yaml")
ADDED_LATER: Mapping[str, Mapping[str, Any]] = {
    "catalogue": {"ties": "drop"},
    "train": {
        "emotions": list(EMOTIONS),
        "merge": {},
        "targets": "hard",
        "votes_prior": 0.0,
        "loss": "cross_entropy",
        "focal_gamma": 2.0,
        "logit_tau": 1.0,
        "sample": "natural",
        "keep": "all",
        "register_as": "best",
    },
    "export_onnx": {"model_uri": None, "output": "onnx"},
    "sync": {"offline": None, "unfinished": False, "models": "all"},
    "export_runs": {"runs": [], "tag": None, "output": "experiments.zip", "models": "none"},
    "import_runs": {"archive": None},
}
"""Settings that the settings.yaml of older runs lacks, with the values that those runs were trained by."""


def read_settings(path: Path = PARAMS_FILE, given: Mapping[str, str] | None = None) -> Settings:
    """Read and check params.yaml, with the `given` values (dotted names) in place of its own.

    Raises:
        SettingsError: the file is missing or is no YAML mapping, or a key is unknown, missing or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"no {path} in {Path.cwd().name}: commands run in the project's folder") from None
    return parse_settings(text, str(path), given)


def parse_settings(text: str, origin: str, given: Mapping[str, str] | None = None, *, is_resolved: bool = False) -> Settings:
    """Check the text of a params.yaml; see `read_settings`. That of a run's settings.yaml `is_resolved`: its recipe is in it already."""
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise SettingsError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    if is_resolved and isinstance(content, dict):
        _fill_up(content)
    if not isinstance(content, dict):
        raise SettingsError(f"{origin} is not a mapping, expected the sections: {', '.join(Settings.model_fields)}")
    for section in content:
        if section in Settings.model_fields and not isinstance(content[section], dict):
            raise SettingsError(f"{origin}: {section} is not a mapping, expected the keys: {', '.join(fields_of(section))}")
    corpora = content.get("data", {}).get("corpora")
    if isinstance(corpora, str):
        expected = ", ".join(name.strip() for name in corpora.split(","))
        raise SettingsError(f"{origin}: data.corpora: {corpora} is not accepted, expected a list, which DVC needs: [{expected}]")
    for name, value in (given or {}).items():
        section, key = name.split(".", 1)
        content.setdefault(section, {})[key] = value
    origins = {} if is_resolved else apply_recipe(content, origin, given or {})
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        problems = {name: list(group) for name, group in groupby(error.errors(), key=lambda problem: problem["loc"][:2])}
        raise SettingsError("; ".join(_explain(group, origin, given or {}, origins) for group in problems.values())) from None
    _refuse_inapplicable(settings, given or {}, origins)
    _refuse_idle(settings, given or {})
    _ = settings.train.space  # which refuses emotions that make no classes
    return settings


def _fill_up(content: dict[str, Any]) -> None:
    """Give the settings of an older run those that came later, as it was trained."""
    for section, added in ADDED_LATER.items():
        if isinstance(recorded := content.get(section, {}), dict):
            content[section] = {**added, **recorded}


def _refuse_inapplicable(settings: Settings, given: Mapping[str, str], of_recipe: Collection[str]) -> None:
    unused = inapplicable(settings)
    for name in (*given, *of_recipe):
        if name in unused:
            section, key = name.split(".")
            if name in of_recipe:
                raise SettingsError(f"recipe={settings.train.recipe} sets {key}, which does not go with model={settings.train.model}")
            model = f"model={settings.train.model}"
            others = [key for key in fields_of(section) if f"{section}.{key}" not in unused] or ["model=baseline"]
            which = f"classifier={settings.baseline.classifier}" if section == "baseline" and others[0] != "model=baseline" else model
            raise SettingsError(f"{key}={given[name]} does not go with {which}, expected one of: {', '.join(others)}")


NEEDED = {
    "train.votes_prior": ("targets", "soft"),
    "train.focal_gamma": ("loss", "focal"),
    "train.logit_tau": ("loss", "logit_adjusted"),
}
"""Settings that do nothing but with a value of another."""


def _refuse_idle(settings: Settings, given: Mapping[str, str]) -> None:
    """Refuse what is given and would do nothing: settings of an adapter, of trained layers, of votes or of a loss where there are none."""
    train = settings.train
    for name, value in given.items():
        key = name.rpartition(".")[2]
        if name.startswith("train.lora_") and train.adapter == "none" and "adapter" not in settings.sweep.space:
            raise SettingsError(f"{key}={value} does nothing without an adapter: give adapter=lora, or leave it out")
        needed, of = NEEDED.get(name, ("", ""))
        if needed and getattr(train, needed) != of and needed not in settings.sweep.space:
            raise SettingsError(f"{key}={value} does nothing with {needed}={getattr(train, needed)}: give {needed}={of}, or leave it out")
        weighs = "class_weights" if train.class_weights not in ("none", 0) else "loss" if train.loss == "logit_adjusted" else ""
        if name in ("train.sample", "train.class_weights", "train.loss") and train.sample != "natural" and weighs:
            raise SettingsError(
                f"sample={train.sample} and {weighs}={getattr(train, weighs)} would both make up for rare emotions: give one of them"
            )
        if name == "train.layer_decay" and train.freeze == "encoder":
            raise SettingsError(f"{key}={value} does nothing, as freeze=encoder trains no layer: freeze less, or leave it out")


def with_values(settings: Settings, values: Mapping[str, Any], origin: str) -> Settings:
    """Return settings with other values, by dotted name, checked; `origin` is where they come from, for messages."""
    content = settings.model_dump()
    for name, value in values.items():
        section, key = name.split(".")
        content[section][key] = value
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(), origin, {})) from None


def dump_settings(settings: Settings) -> str:
    """Write settings as YAML that `parse_settings` reads back as the same settings."""
    text = StringIO()
    YAML(typ="safe", pure=True).dump(settings.model_dump(mode="json"), text)
    return text.getvalue()


def flatten_settings(settings: Settings, sections: Sequence[str] = RUN_SECTIONS) -> dict[str, Any]:
    """Return the settings of some sections (those that a training depends on) under their dotted names (train.lr)."""
    content = settings.model_dump()
    return {f"{section}.{key}": value for section in sections for key, value in content[section].items()}


def applicable_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a training depends on, but for those that its model does not have, under their dotted names."""
    unused = inapplicable(settings)
    return {name: value for name, value in flatten_settings(settings).items() if name not in unused}


def _explain(problems: Sequence[Mapping[str, Any]], origin: str, given: Mapping[str, str], origins: Mapping[str, str] | None = None) -> str:
    """Word what is wrong with one setting; there are several problems where none of several kinds of value fits.

    `origins` are the places of settings that do not come from `origin`.
    """
    problem = problems[0]
    name = ".".join(str(part) for part in problem["loc"][:2])
    section, _, key = name.partition(".")
    accepted = fields_of(section) if key else list(Settings.model_fields)
    if problem["type"] == "extra_forbidden":
        return f"{origin}: unknown parameter {name!r}{near_names(name, accepted)}, expected one of: {', '.join(accepted)}"
    if problem["type"] == "missing":
        return f"{origin}: no {name}, expected the keys: {', '.join(accepted)}"
    place = f"{name if section in SHARED_SECTIONS else key}=" if name in given else f"{(origins or {}).get(name, f'{origin}: {name}')}: "
    expected = " or ".join(re.sub(r"^\w+ should (be |have )?|, unable to.*", "", each["msg"]) for each in problems)
    return f"{place}{problem['input']} is not accepted, expected {expected}"
