"""The command line of every command: settings by name, `--help`, and how a command ends."""

import argparse
import gc
import os
import select
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from ser_mlops.errors import SerError, SettingsError
from ser_mlops.settings.cores import available_cores, bound_cores
from ser_mlops.settings.fields import fields_of, model_of, near_names
from ser_mlops.settings.reading import read_settings
from ser_mlops.settings.search import Choices, Range, write_space
from ser_mlops.settings.sections import GROUPS, SHARED_SECTIONS, Settings

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


def parse_arguments(used: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> Settings:
    """Read params.yaml and what a command line changes of it; see `parse_given`."""
    return read_settings(given=parse_given(used, description, arguments))


def parse_given(
    used: Sequence[str], description: str, arguments: Sequence[str] | None = None, unlisted: Collection[str] = ()
) -> dict[str, str]:
    """Return the values that a command line gives, as written, by dotted name; only the names are checked.

    `used` lists the sections and single settings (paths.cache) that the command uses, in the order of its help. Settings of sections go by
    plain names (`--lr`), the first section first where two share a name; what an earlier section hides, and the sections paths and data, go
    by dotted names (`--paths.cache`). Hyphens and underscores are the same. `--help` prints every setting with its default and exits,
    but for those `unlisted` (train.lr), which the command refuses when it knows why.
    """
    names = _names_of(used)
    given: dict[str, str] = {}
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "-h" in words or "--help" in words:
        print(_help({name: dotted for name, dotted in names.items() if dotted not in unlisted}, description))
        raise SystemExit(0)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise SettingsError(f"unexpected {word!r}, expected --name value")
        word, equals, value = word.removeprefix("--").partition("=")
        name = RENAMED.get(word.replace("-", "_"), word.replace("-", "_"))
        if name in ANSWERED:
            raise SettingsError(f"{name} is not a parameter, use {ANSWERED[name]}")
        if name not in names:
            raise SettingsError(f"unknown parameter {name!r}{near_names(name, [*names])}: --help lists all")
        if not equals:
            if not words:
                raise SettingsError(f"{name} has no value")
            value = words.pop(0)
        if names[name] in given:
            raise SettingsError(f"{name} is given twice")
        given[names[name]] = value
    return given


def _names_of(used: Sequence[str]) -> dict[str, str]:
    """Return the name of every setting on the command line -> its dotted name, in the order of the help."""
    dotted = [name for part in used for name in ([part] if "." in part else [f"{part}.{key}" for key in fields_of(part)])]
    names: dict[str, str] = {}
    for name in dotted:
        section, key = name.split(".")
        names[name if section in SHARED_SECTIONS or key in names else key] = name
    return names


def _help(names: Mapping[str, str], description: str) -> str:
    """Return the help: the settings under the headings of their sections and groups, with their defaults."""
    defaults = read_settings()
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines.{Path(sys.argv[0]).stem}",
        usage="%(prog)s [--name value ...]",
        description=description,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    before, group = "", parser.add_argument_group()
    for name, dotted in names.items():
        section, key = dotted.split(".")
        if dotted in GROUPS or section != before:
            before, group = section, parser.add_argument_group(GROUPS.get(dotted) or Settings.model_fields[section].description)
        field = model_of(section).model_fields[key]
        default = getattr(getattr(defaults, section), key)
        text = f"{field.description} [{_shown(default)}]".replace("%", "%%")
        group.add_argument(f"--{name}", metavar="|".join(_choices(field.annotation)) or "VALUE", help=text)
    return parser.format_help()


def _shown(default: object) -> str:
    """Word a default as it could be given."""
    if isinstance(default, Mapping) and any(isinstance(value, Range | Choices) for value in default.values()):
        return write_space(default)
    if isinstance(default, Mapping):
        default = tuple(f"{key}={value}" for key, value in default.items())
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return "none" if default is None or not text else text.lower() if isinstance(default, bool) else text


def _choices(annotation: object) -> list[str]:
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


SPIN_COUNT = 5000
"""Turns that a thread of GNU OpenMP waits busily for the others. Its own default costs a factor of six to nine where another process holds
a core. Training the demo on two cores, in seconds (default / 5000 / OMP_WAIT_POLICY=passive): alone 12 / 11.6 / 16.5, beside one busy
process 69 to 104 / 18 / 11 to 12."""
READER_LEFT = 141
"""Exit code of a shell's command that SIGPIPE has ended."""
GARBAGE_THRESHOLDS = 100_000, 20, 100
"""Torch, transformers and MLflow leave millions of objects, which Python's own thresholds have it search again and again: a tenth of the
time of their imports, an eighth of that of a round with cached features."""


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit with its code; a user's mistake prints one line and exits with the error's own code."""
    share_machine()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        try:
            code = command()
        except SerError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        raise SystemExit(READER_LEFT) from None
    raise SystemExit(code or 0)


def share_machine() -> None:
    """Let the threads of torch and numpy leave the cores to others while they wait, and have no more of them than cores are granted.

    It says so in the environment, which processes started from here inherit, and which OpenMP reads once: call it before torch is loaded.
    What the user has set stays. With an equal number of threads no number changes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
    if (cores := available_cores()) < bound_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def _reader_has_left() -> bool:
    """Say whether whoever read the output has closed it (`… --help | head`); if so, nothing more is written there."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    has_left = any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    if has_left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return has_left
