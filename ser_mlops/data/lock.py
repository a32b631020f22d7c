"""What dvc.lock says about a corpus: the version of its frame, and whether the current files and settings still match it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ser_mlops.data.folders import audio_file, frame_file, index_file
from ser_mlops.errors import DataError
from ser_mlops.files import md5_of, write_text

LOCK_FILE = Path("dvc.lock")
REMEDY = "run `dvc repro`"
MEMORY = Path(".dvc/tmp")
"""DVC's own folder for what can be computed again; git ignores it."""


@dataclass(frozen=True)
class Version:
    """The data of one corpus as DVC recorded it."""

    frame: Path
    frame_md5: str
    audio: Path
    audio_md5: str


def read_versions(corpora: tuple[str, ...], params: Mapping[str, Mapping[str, Any]], lock_file: Path = LOCK_FILE) -> dict[str, Version]:
    """Return the version of each corpus, having checked that nothing is stale: files, settings, and the order in which stages ran.

    `params` are the current settings of the data sections (data, catalogue, audio, frames). The frame, the audio file and its index are
    hashed: the audio file, which may have many gigabytes, once for every version of the file.

    Raises:
        DataError: no dvc.lock or no stage for a corpus, a file that is missing or differs, a setting that differs.
    """
    if not lock_file.is_file():
        raise DataError(f"no {lock_file} in {Path.cwd()}: {REMEDY} there")
    try:
        stages = _stages_of(lock_file.read_bytes())
    except (YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{lock_file} is not what DVC writes ({' '.join(str(error).split())[:200]}): {REMEDY}") from None
    return {corpus: _version(corpus, stages, params) for corpus in corpora}


@lru_cache(maxsize=1)
def _stages_of(lock: bytes) -> Mapping[str, Any]:
    """Parse a lock; reading the file of seven corpora takes half a second, and a survey asks once for every model."""
    return YAML(typ="safe", pure=True).load(lock)["stages"]


def _version(corpus: str, stages: Mapping[str, Any], params: Mapping[str, Mapping[str, Any]]) -> Version:
    outputs: dict[str, Mapping[str, Any]] = {}
    for name in (f"catalogue@{corpus}", f"audio@{corpus}", f"frames@{corpus}"):
        if name not in stages:
            raise DataError(f"frame of {corpus} is missing: dvc.lock has no stage {name}, {REMEDY}")
        for used in stages[name].get("deps", []):
            if used["path"] in outputs and used["md5"] != outputs[used["path"]]["md5"]:
                raise DataError(f"frame of {corpus} is stale: {used['path']} was recomputed after it, {REMEDY}")
        for dotted, value in stages[name].get("params", {}).get("params.yaml", {}).items():
            _check_setting(corpus, dotted, value, params)
        outputs |= {output["path"]: output for output in stages[name]["outs"]}
    frame, audio = frame_file(corpus), audio_file(corpus)
    for path in (frame, index_file(corpus), audio):
        if not path.is_file():
            raise DataError(f"frame of {corpus} is missing: no {path} in {Path.cwd()}, {REMEDY} there")
        recorded = outputs.get(path.as_posix(), {"size": None})
        if path.stat().st_size != recorded["size"] or (_remembered_md5(path) if path == audio else md5_of(path)) != recorded["md5"]:
            raise DataError(f"frame of {corpus} is stale: {path} is not the one of dvc.lock, {REMEDY}")
    return Version(frame, outputs[frame.as_posix()]["md5"], audio, outputs[audio.as_posix()]["md5"])


def _remembered_md5(path: Path) -> str:
    """Return the MD5 of a file, hashed once for every version of it: what was hashed before is remembered in DVC's folder."""
    state = path.stat()
    version = f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
    note = MEMORY / f"ser-{path.stem}.md5"
    if note.is_file() and (known := note.read_text(encoding="utf-8").partition("\n"))[0] == version:
        return known[2]
    digest = md5_of(path)
    if MEMORY.parent.is_dir():
        with suppress(OSError):  # a project on a read-only disk hashes every time
            write_text(note, f"{version}\n{digest}")
    return digest


def _check_setting(corpus: str, dotted: str, locked: Any, params: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare a setting (data.raw), or all settings of a section (audio), with those of the stage's last run."""
    section, _, key = dotted.partition(".")
    now = params.get(section, {})
    then = {key: locked} if key else locked
    for name in [key] if key else sorted({*now, *then}):
        if name not in now or name not in then or now[name] != then[name]:
            was = repr(then[name]) if name in then else "nothing"
            raise DataError(f"frame of {corpus} is stale: {section}.{name} is {now.get(name)!r}, the frame was made with {was}, {REMEDY}")
