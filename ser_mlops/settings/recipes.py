"""Recipes: settings of `train` that go together, under a name in the section `recipes` of params.yaml.

They count above the defaults of params.yaml and below what a command gives.
"""

from collections.abc import Mapping
from typing import Any

from ser_mlops.errors import SettingsError, one_of
from ser_mlops.settings.fields import fields_of, near_names
from ser_mlops.settings.kinds import none_if_blank

UNSET = ("recipe", "resume")
"""Settings of `train` that no recipe sets."""


def apply_recipe(content: Mapping[str, Any], origin: str, given: Mapping[str, str]) -> dict[str, str]:
    """Put the settings of the recipe that the content of params.yaml names in place of its own, but for those `given`.

    Returns where each setting comes from, for messages, by dotted name.

    Raises:
        SettingsError: the recipe is unknown, or any recipe sets what is no setting of `train`.
    """
    recipes = content.get("recipes") or {}
    for name, values in recipes.items():
        _check(values, f"{origin}: recipes.{name}")
    name = none_if_blank(content.get("train", {}).get("recipe"))
    if name is None:
        return {}
    if name not in recipes:
        raise SettingsError(one_of("recipe", str(name), list(recipes)))
    chosen = {key: value for key, value in recipes[name].items() if f"train.{key}" not in given}
    content["train"].update(chosen)
    return {f"train.{key}": f"{origin}: recipes.{name}.{key}" for key in chosen}


def _check(values: object, place: str) -> None:
    accepted = [key for key in fields_of("train") if key not in UNSET]
    if not isinstance(values, dict):
        raise SettingsError(f"{place} is not a mapping, expected settings of train")
    for key in values:
        if key not in accepted:
            raise SettingsError(
                f"{place}: unknown setting {key!r}{near_names(str(key), accepted)}, expected some of: {', '.join(accepted)}"
            )
