"""Where the files of a model are: in a folder, or in the Hugging Face cache, fetched from the hub where they are not yet there.

Nothing heavy is imported, so that a misspelt model is refused at once.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of the library below it
    EntryNotFoundError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

from ser_mlops.errors import ModelError, one_of
from ser_mlops.models.aliases import ALIASES, TINY, TINY_LAYERS
from ser_mlops.models.families.registry import check_family

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In order of preference; the second is the old form, unpickled with `weights_only`."""
WHISPER_STEP = 0.02
"""Seconds of a step of its encoder; `families.whisper`, which loads torch, derives the same from frames and hops."""
HUB_SECONDS = 2.0
"""How long the hub may take to answer at all before it counts as out of reach: its own client would retry for minutes."""


def locate(model: str) -> Path | None:
    """Check, before anything is computed, that a model's name is known and its files are within reach; see `load_classifier`.

    Returns the folder that holds them; None for `tiny`, which has none.
    """
    return None if model == TINY else folder_of(model)


def count_layers(model: str) -> int:
    """Return how many layers the encoder of a model has, as its config says."""
    folder = locate(model)
    if folder is None:
        return TINY_LAYERS
    return int(_in_config(folder / CONFIG, model, "encoder_layers", "num_hidden_layers"))  # Whisper has a decoder, too


def heard_seconds(model: str) -> float | None:
    """Return after how many seconds a model cuts a clip off, as its config says; None where it does not."""
    folder = locate(model)
    if folder is None or _in_config(folder / CONFIG, model, "model_type") != "whisper":
        return None
    return float(_in_config(folder / CONFIG, model, "max_source_positions") * WHISPER_STEP)


def folder_of(model: str) -> Path:
    """Return the folder that holds a model's files, fetched from the hub where they are not yet in its cache."""
    if Path(model).is_dir():
        check_local(Path(model), model)
        return Path(model)
    repository = ALIASES.get(model, model)
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise ModelError(one_of("model", model, [*ALIASES, "a hub id (owner/name)", "a folder that exists"]))
    try:
        if _missing_from_cache(repository):
            get_session().head(hf_hub_url(repository, CONFIG), timeout=HUB_SECONDS)
            return _download(repository)
        return _download(repository, local_files_only=True)
    except RepositoryNotFoundError as error:
        raise ModelError(f"no model {repository} on the hub, or no right to read it: see `hf auth login`") from error
    except RemoteEntryNotFoundError as error:
        raise ModelError(f"{repository} on the hub lacks a file: needed are {CONFIG}, {PREPROCESSOR} and {' or '.join(WEIGHTS)}") from error
    except (HTTPError, OSError) as error:
        raise ModelError(
            f"model {model!r} needs {', '.join(_missing_from_cache(repository))} of {repository}: not in the Hugging Face cache, "
            f"and the hub is out of reach. On a machine with network run `hf download {repository}` and copy its cache (HF_HOME, by "
            f"default ~/.cache/huggingface) here, or copy the files into a folder and pass -P model=FOLDER; "
            f"-P model={TINY} needs no download"
        ) from error


def _missing_from_cache(repository: str) -> list[str]:
    missing = [name for name in (CONFIG, PREPROCESSOR) if not isinstance(try_to_load_from_cache(repository, name), str)]
    if not any(isinstance(try_to_load_from_cache(repository, name), str) for name in WEIGHTS):
        missing.append(" or ".join(WEIGHTS))
    return missing


def _download(repository: str, *, local_files_only: bool = False) -> Path:
    """Return the folder of the cache that holds the files, downloaded where they are missing."""
    for name in (CONFIG, PREPROCESSOR):
        path = Path(hf_hub_download(repository, name, local_files_only=local_files_only))
        if name == CONFIG:
            _check_config(path, repository)
    preferred, old = WEIGHTS
    try:
        hf_hub_download(repository, preferred, local_files_only=local_files_only)
    except EntryNotFoundError:
        hf_hub_download(repository, old, local_files_only=local_files_only)
    return path.parent


def _check_config(path: Path, model: str) -> None:
    """Refuse an architecture that cannot be trained, before its weights are fetched."""
    check_family(_in_config(path, model, "model_type"), model)


def _in_config(path: Path, model: str, *keys: str) -> Any:
    """Return what the config of a model says under the first of these keys that it has."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return next(config[key] for key in keys if key in config)
    except (ValueError, TypeError, StopIteration) as error:
        raise ModelError(f"model {model!r}: {path} says no {keys[-1]}") from error


def check_local(folder: Path, model: str) -> None:
    missing = [name for name in (CONFIG, PREPROCESSOR) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in WEIGHTS):
        missing.append(" or ".join(WEIGHTS))
    if missing:
        raise ModelError(f"model {model!r}: the folder lacks {', '.join(missing)}")
