"""The command line of every command: settings by name, `--help`, and how a command ends."""

import argparse
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args, get_origin

from ser_mlops.errors import SerError, SettingsError
from ser_mlops.settings.fields import fields_of, model_of
from ser_mlops.settings.reading import read_settings, unknown_parameter
from ser_mlops.settings.sections import SHARED_SECTIONS, Settings

RENAMED = {"rondas": "rounds"}
"""Old names that are accepted."""
ANSWERED = {
    "root_folder": "data.raw in params.yaml (make raw FROM=FOLDER)",
    "dump_folder": "paths.checkpoints and paths.cache",
    "epoch_ini": "resume=RUN_ID",
    "best_acc": "resume=RUN_ID",
    "num_epochs": "epochs",
}
"""Old names that are refused with what replaces them."""


def parse_arguments(sections: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> Settings:
    """Read params.yaml and what a command line changes of it; see `parse_given`."""
    return read_settings(given=parse_given(sections, description, arguments))


def parse_given(sections: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Return the values that a command line gives, as written, by dotted name; only the names are checked.

    `sections` are those whose settings go by plain names (`--lr`), the first one first where two share a name; the shared
    sections, and what an earlier section hides, go by dotted names (`--paths.cache`). Hyphens and underscores are the same.
    `--help` prints every setting with its default and exits.
    """
    names = {key: f"{section}.{key}" for section in reversed(sections) for key in fields_of(section)}
    dotted = [f"{section}.{key}" for section in (*sections, *SHARED_SECTIONS) for key in fields_of(section)]
    names |= {name: name for name in dotted if name not in names.values()}
    given: dict[str, str] = {}
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in words or "--help" in words:
        print(_help(names, description))
        raise SystemExit(0)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise SettingsError(f"unexpected {word!r}, expected --name value")
        word, equals, value = word.removeprefix("--").partition("=")
        name = RENAMED.get(word.replace("-", "_"), word.replace("-", "_"))
        if name in ANSWERED:
            raise SettingsError(f"{name} is no longer a parameter, use {ANSWERED[name]}")
        if name not in names:
            raise SettingsError(unknown_parameter(name, [*names]))
        if not equals:
            if not words:
                raise SettingsError(f"{name} has no value")
            value = words.pop(0)
        if names[name] in given:
            raise SettingsError(f"{name} is given twice")
        given[names[name]] = value
    return given


def _help(names: Mapping[str, str], description: str) -> str:
    defaults = read_settings()
    parser = argparse.ArgumentParser(
        description=description, add_help=False, usage="%(prog)s [--name value ...]", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, dotted in names.items():
        section, key = dotted.split(".", 1)
        field = model_of(section).model_fields[key]
        default = getattr(getattr(defaults, section), key)
        text = f"{field.description} [{_shown(default)}]".replace("%", "%%")
        parser.add_argument(f"--{name}", metavar="|".join(_choices(field.annotation)) or "VALUE", help=text)
    return parser.format_help()


def _shown(default: object) -> str:
    """Word a default as it could be given."""
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return "none" if default is None or not text else text.lower() if isinstance(default, bool) else text


def _choices(annotation: object) -> list[str]:
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


GARBAGE_THRESHOLDS = 100_000, 20, 100
"""Torch, transformers and MLflow leave millions of objects, which Python's own thresholds have it search again and again: a tenth of the
time of their imports, an eighth of that of a round with cached features."""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit with its code; a user's mistake prints one line and exits with the error's own code."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        code = command()
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    raise SystemExit(code or 0)
