"""A frame is used only if it is the one that dvc.lock describes, made with the current settings."""

from pathlib import Path

import pytest

from ser_mlops.data import lock
from ser_mlops.data.lock import LOCK_FILE, Version, read_versions
from ser_mlops.errors import DataError
from ser_mlops.files import md5_of

PARAMS = {
    "data": {"raw": "data/demo", "corpora": ["CREMA"], "own_corpora": None},
    "catalogue": {"calm": "neutral", "contempt": "drop", "labels": "acted"},
    "audio": {"min_seconds": 0.1},
    "frames": {"split": "groups", "seed": 19730309, "test_ratio": 0.2},
}
FILES = {
    "data/catalogue/CREMA.parquet": b"the names",
    "data/audio/CREMA.npy": b"the samples",
    "data/audio/CREMA.parquet": b"where each clip starts",
    "data/frames/CREMA.parquet": b"the frame",
    "data/left_out/CREMA.csv": b"path,reason\n",
}
LOCK = """\
schema: '2.0'
stages:
  catalogue@CREMA:
    cmd: python -m pipelines.catalogue --corpus CREMA
    deps:
    - {path: data/demo/CREMA, hash: md5, md5: 7dadfe9a7d737c4b1927810747cc0abe.dir, size: 3779327, nfiles: 123}
    params:
      params.yaml:
        catalogue: {calm: neutral, contempt: drop, labels: acted}
        data.raw: data/demo
    outs:
    - {path: data/catalogue/CREMA.parquet, hash: md5, {data/catalogue/CREMA.parquet}}
  audio@CREMA:
    cmd: python -m pipelines.audio --corpus CREMA
    deps:
    - {path: data/demo/CREMA, hash: md5, md5: 7dadfe9a7d737c4b1927810747cc0abe.dir, size: 3779327, nfiles: 123}
    params:
      params.yaml:
        audio: {min_seconds: 0.1}
        data.raw: data/demo
    outs:
    - {path: data/audio/CREMA.npy, hash: md5, {data/audio/CREMA.npy}}
    - {path: data/audio/CREMA.parquet, hash: md5, {data/audio/CREMA.parquet}}
  frames@CREMA:
    cmd: python -m pipelines.frames --corpus CREMA
    deps:
    - {path: data/audio/CREMA.parquet, hash: md5, {data/audio/CREMA.parquet}}
    - {path: data/catalogue/CREMA.parquet, hash: md5, {data/catalogue/CREMA.parquet}}
    params:
      params.yaml:
        frames: {seed: 19730309, split: groups, test_ratio: 0.2}
    outs:
    - {path: data/frames/CREMA.parquet, hash: md5, {data/frames/CREMA.parquet}}
    - {path: data/left_out/CREMA.csv, hash: md5, {data/left_out/CREMA.csv}}
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder with the data of one corpus and the dvc.lock that goes with it."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    text = LOCK
    for name, content in FILES.items():
        text = text.replace(f"{{{name}}}", f"md5: {md5_of(Path(name))}, size: {len(content)}")
    LOCK_FILE.write_text(text)


def edit_lock(old: str, new: str) -> None:
    text = LOCK_FILE.read_text()
    assert old in text
    LOCK_FILE.write_text(text.replace(old, new, 1))


def refusal(params=PARAMS, corpora: tuple[str, ...] = ("CREMA",)) -> str:
    with pytest.raises(DataError) as error:
        read_versions(corpora, params)
    assert "run `dvc repro`" in str(error.value)
    return str(error.value)


def changed(dotted: str, value: object) -> dict[str, dict[str, object]]:
    section, key = dotted.split(".")
    return PARAMS | {section: PARAMS[section] | {key: value}}


def test_a_fresh_frame_has_the_version_that_dvc_knows():
    frame, audio = Path("data/frames/CREMA.parquet"), Path("data/audio/CREMA.npy")
    assert read_versions(("CREMA",), PARAMS) == {"CREMA": Version(frame, md5_of(frame), audio, md5_of(audio))}


@pytest.mark.parametrize("name", ["data/frames/CREMA.parquet", "data/audio/CREMA.parquet", "data/audio/CREMA.npy"])
def test_a_file_that_changed_is_stale(name):
    Path(name).write_bytes(FILES[name] + b"!")
    assert refusal() == f"frame of CREMA is stale: {name} is not the one of dvc.lock, run `dvc repro`"


@pytest.mark.parametrize("name", ["data/frames/CREMA.parquet", "data/audio/CREMA.parquet"])
def test_one_byte_is_enough(name):
    Path(name).write_bytes(FILES[name].replace(b"e", b"E", 1))
    assert f"{name} is not the one of dvc.lock" in refusal()


def test_audio_of_the_right_size_with_other_samples_is_stale_and_a_version_is_hashed_once(monkeypatch):
    Path(".dvc").mkdir()
    hashed = []
    monkeypatch.setattr(lock, "md5_of", lambda path: hashed.append(path) or md5_of(path))
    audio = Path("data/audio/CREMA.npy")
    read_versions(("CREMA",), PARAMS)
    read_versions(("CREMA",), PARAMS)
    assert hashed.count(audio) == 1
    content = audio.read_bytes()
    audio.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert refusal() == "frame of CREMA is stale: data/audio/CREMA.npy is not the one of dvc.lock, run `dvc repro`"
    audio.write_bytes(content)
    read_versions(("CREMA",), PARAMS)
    assert hashed.count(audio) == 3


@pytest.mark.parametrize("name", ["data/frames/CREMA.parquet", "data/audio/CREMA.parquet", "data/audio/CREMA.npy"])
def test_a_file_that_is_gone_is_named(name):
    Path(name).unlink()
    assert refusal() == f"frame of CREMA is missing: no {name} in {Path.cwd()}, run `dvc repro` there"


@pytest.mark.parametrize(
    ("dotted", "value", "shown"),
    [
        ("data.raw", "data/raw", "data.raw is 'data/raw', the frame was made with 'data/demo'"),
        ("catalogue.calm", "drop", "catalogue.calm is 'drop', the frame was made with 'neutral'"),
        ("audio.min_seconds", 0.5, "audio.min_seconds is 0.5, the frame was made with 0.1"),
        ("frames.split", "stratified", "frames.split is 'stratified', the frame was made with 'groups'"),
        ("frames.seed", 1, "frames.seed is 1, the frame was made with 19730309"),
    ],
)
def test_a_setting_that_changed_makes_the_frame_stale(dotted, value, shown):
    assert refusal(changed(dotted, value)) == f"frame of CREMA is stale: {shown}, run `dvc repro`"


def test_a_setting_that_no_stage_uses_makes_nothing_stale():
    read_versions(("CREMA",), changed("data.corpora", ["CREMA", "TESS"]))


def test_a_setting_that_is_new_makes_the_frame_stale():
    assert "audio.max_seconds is 9, the frame was made with nothing" in refusal(changed("audio.max_seconds", 9))


def test_a_setting_that_is_gone_makes_the_frame_stale():
    assert "audio.min_seconds is None, the frame was made with 0.1" in refusal(PARAMS | {"audio": {}})


def test_a_small_number_is_the_same_however_it_is_written():
    edit_lock("min_seconds: 0.1", "min_seconds: 1e-05")
    read_versions(("CREMA",), changed("audio.min_seconds", 1.0e-5))


def test_a_stage_that_ran_without_the_one_that_uses_it_makes_the_frame_stale():
    edit_lock(md5_of(Path("data/catalogue/CREMA.parquet")), "0" * 32)  # the catalogue's own entry comes first
    assert "data/catalogue/CREMA.parquet was recomputed after it" in refusal()


@pytest.mark.parametrize("stage", ["catalogue", "audio", "frames"])
def test_a_stage_that_never_ran_is_named(stage):
    edit_lock(f"{stage}@CREMA", f"{stage}@OTHER")
    assert refusal() == f"frame of CREMA is missing: dvc.lock has no stage {stage}@CREMA, run `dvc repro`"


def test_a_corpus_that_was_never_prepared_is_named():
    assert "frame of TESS is missing" in refusal(corpora=("CREMA", "TESS"))


def test_no_lock_is_no_data():
    LOCK_FILE.unlink()
    assert refusal() == f"no dvc.lock in {Path.cwd()}: run `dvc repro` there"


@pytest.mark.parametrize("text", ["", "schema: '2.0'\n", "<<<<<<< HEAD\nschema: '2.0'\n", "[1, 2"])
def test_a_lock_that_dvc_did_not_write_is_refused(text):
    LOCK_FILE.write_text(text)
    assert refusal().startswith("dvc.lock is not what DVC writes")


def test_a_stage_that_left_an_output_out_makes_the_frame_stale():
    edit_lock("path: data/audio/CREMA.npy", "path: data/audio/OTHER.npy")
    assert "data/audio/CREMA.npy is not the one of dvc.lock" in refusal()
