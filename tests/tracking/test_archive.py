"""Experiments that travel: exported, imported into another store, equal there, each once, and nothing out of a damaged archive."""

import json
import os
import shutil
import signal
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from ser_mlops.errors import SettingsError, TrackingError
from ser_mlops.experiments.exchange import conduct_export, conduct_import
from ser_mlops.experiments.offline import conduct_offline_sync
from ser_mlops.settings.sharing import ExportRunsSettings, SyncSettings
from ser_mlops.tracking.names import IMPORTED_TAG
from ser_mlops.tracking.sender import Sender
from ser_mlops.tracking.store import children_of, find_run, open_store
from tests.processes import Command
from tests.servers import MlflowServer
from tests.tracking.builders import content_of_experiment, copy_store, in_store, log_experiment, notebook_of, parents, serving

OURS = ("original_run_id", "original_store", "imported")
HISTORIES = ("metrics", "params", "inputs", "artifacts")


@pytest.fixture(scope="module")
def home(fresh_database, tmp_path_factory) -> tuple[Path, str]:
    """A folder with an embedded store that has one finished experiment, and its id."""
    folder = tmp_path_factory.mktemp("home")
    copy_store(fresh_database, folder)
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        parent_id = log_experiment(folder / "outbox")
        client = open_store()
        for key, value in {"commit": "c" * 40, "code": "d" * 64, "data": "synthetic"}.items():
            client.set_tag(parent_id, key, value)
        client.log_text(parent_id, "train: {}", "settings.yaml")
        (child, *_) = children_of(client, client.get_run(parent_id))
        note = f"[curves](#/experiments/1/runs/{child.info.run_id}) mlflow run . -P resume={parent_id}"
        client.set_tag(parent_id, "mlflow.note.content", note)
    return folder, parent_id


@contextmanager
def at(folder: Path) -> Iterator[mlflow.MlflowClient]:
    """Use the embedded store of a folder."""
    with in_store(f"sqlite:///{folder}/mlflow.db", folder):
        yield open_store()


@pytest.fixture
def abroad(fresh_database, tmp_path) -> Path:
    """A folder with another embedded store, which has no runs."""
    folder = tmp_path / "abroad"
    folder.mkdir()
    copy_store(fresh_database, folder)
    return folder


@pytest.fixture(scope="module")
def archives(home, tmp_path_factory) -> Callable[[str], Path]:
    """Exports of that experiment: as a zip or as a folder, with all models or none."""
    folder, parent_id = home
    place = tmp_path_factory.mktemp("archives")
    with at(folder):
        for name, models in (("all.zip", "all"), ("all", "all"), ("none.zip", "none")):
            conduct_export(ExportRunsSettings(runs=(parent_id,), tag=None, output=str(place / name), models=models))
    return lambda name: place / name


def equal_to_home(home: tuple[Path, str], client: mlflow.MlflowClient, run_id: str, *, with_models: bool = True) -> bool:
    """Whether a copy has all that its original has, with the times and tags of it."""
    folder, parent_id = home
    there = client.get_run(run_id), *children_of(client, client.get_run(run_id))
    copied = content_of_experiment(client, run_id)
    copied_times = [(run.info.start_time, run.info.end_time, run.data.tags["original_run_id"]) for run in there]
    with at(folder) as source:
        original = content_of_experiment(source, parent_id)
        runs = source.get_run(parent_id), *children_of(source, source.get_run(parent_id))
        times = [(run.info.start_time, run.info.end_time, run.info.run_id) for run in runs]
        timestamps = [points_of(source, run) for run in runs]
    assert sorted(copied_times) == sorted(times)
    assert sorted(points_of(client, run) for run in there) == sorted(timestamps)
    for name, run in copied.items():
        tags = {key: value for key, value in run["tags"].items() if key not in (*OURS, "mlflow.note.content")}
        assert tags == {key: value for key, value in original[name]["tags"].items() if key != "mlflow.note.content"}
        for key in ("name", "status", *HISTORIES, *(["models"] if with_models else [])):
            assert run[key] == original[name][key], f"{key} of {name}"
    return copied.keys() == original.keys()


def points_of(client: mlflow.MlflowClient, run: mlflow.entities.Run) -> list[tuple[str, int, int, float]]:
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    return sorted((key, point.step, point.timestamp, point.value) for key, history in histories.items() for point in history)


@pytest.mark.parametrize("name", ["all.zip", "all"])
def test_an_imported_experiment_equals_its_original_down_to_times_and_models(home, archives, abroad, name, capsys):
    with at(abroad) as client:
        conduct_import(str(archives(name)), abroad / "checkpoints")
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id)
        assert f"run {copy.info.run_id} now is the copy of {home[1]}: indep A tiny (FINISHED, synthetic data)" in capsys.readouterr().out
        assert find_run(client, home[1]).info.run_id == copy.info.run_id, "the original's id does not find it"
        child = children_of(client, copy)[0].info
        assert copy.data.tags["mlflow.note.content"] == (
            f"[curves](#/experiments/{child.experiment_id}/runs/{child.run_id}) mlflow run . -P resume={copy.info.run_id}"
        )
        assert not [*(abroad / "checkpoints").rglob("work")], "something stayed on its way"


def test_a_second_import_says_that_the_experiment_is_there_and_models_may_come_later(home, archives, abroad, capsys):
    with at(abroad) as client:
        conduct_import(str(archives("none.zip")), abroad / "checkpoints")
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id, with_models=False)
        assert [run["models"] for run in content_of_experiment(client, copy.info.run_id).values()] == 4 * [[]]
        conduct_import(str(archives("none.zip")), abroad / "checkpoints")
        assert f"run {copy.info.run_id} already was the copy of {home[1]}" in capsys.readouterr().out
        conduct_import(str(archives("all.zip")), abroad / "checkpoints")
        assert [run.info.run_id for run in parents(client)] == [copy.info.run_id]
        assert equal_to_home(home, client, copy.info.run_id)


def test_the_store_that_an_archive_comes_from_gets_no_copy(home, archives, capsys):
    with at(home[0]) as client:
        conduct_import(str(archives("all.zip")), home[0] / "checkpoints")
        assert f"run {home[1]} is this store's own: indep A tiny" in capsys.readouterr().out
        assert len(parents(client)) == 1


def test_the_same_experiment_makes_the_same_zip_and_what_stays_away_is_said(home, archives, tmp_path, capsys):
    folder, parent_id = home
    with at(folder) as client:
        (child, *_) = children_of(client, client.get_run(parent_id))
        conduct_export(ExportRunsSettings(runs=(parent_id,), tag=None, output=str(tmp_path / "again.zip"), models="none"))
        said = capsys.readouterr().out
        assert (tmp_path / "again.zip").read_bytes() == archives("none.zip").read_bytes()
        assert "again.zip (synthetic data): 1 experiment, 4 runs, " in said
        assert "3 models stayed away: models=all takes all, models=best the best of each experiment" in said
        (tmp_path / "voice.WAV").write_bytes(b"a voice")
        client.log_artifact(child.info.run_id, str(tmp_path / "voice.WAV"))
        conduct_export(ExportRunsSettings(runs=(parent_id,), tag=None, output=str(tmp_path / "silent"), models="none"))
        (Path(child.info.artifact_uri) / "voice.WAV").unlink()
    assert f"recordings stayed away, as they always do: {child.info.run_id}/artifacts/voice.WAV" in capsys.readouterr().out
    assert not [*(tmp_path / "silent").rglob("*.WAV")]
    page = (tmp_path / "silent/README.md").read_text(encoding="utf-8")
    assert "| indep A tiny | 4 |  | synthetic | cccccccccccc |" in page
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "silent").glob("**/*.json")]
    assert str(folder) not in "".join(texts), "a folder of this machine is in the archive"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no experiment to export: runs=ID,ID or tag=KEY=VALUE"),
        ({"runs": ("nonsense",)}, "no run 'nonsense' in sqlite:"),
        ({"tag": "paper"}, "tag=paper is not accepted, expected KEY=VALUE"),
        ({"output": "mlflow.db"}, "output=mlflow.db is there: remove it, or give another name"),
    ],
)
def test_what_cannot_be_exported_is_refused(home, given, message):
    with at(home[0]), pytest.raises((SettingsError, TrackingError)) as refused:
        conduct_export(ExportRunsSettings(**{"runs": (), "tag": None, "output": "x.zip", "models": "none"} | given))
    assert str(refused.value).startswith(message)


def test_a_round_alone_and_an_experiment_that_runs_are_not_exported(store, tmp_path):
    settings = ExportRunsSettings(runs=(), tag=None, output="x.zip", models="none")
    with notebook_of(tmp_path / "outbox") as notebook:
        parent_id = notebook.parent.run_id
        with pytest.raises(TrackingError, match=f"run {parent_id} is RUNNING, expected an experiment that has ended"):
            conduct_export(settings.model_copy(update={"runs": (parent_id,)}))
        child_id = notebook.children["A round 0"].run_id
        with pytest.raises(TrackingError, match=f"run {child_id} is one round of experiment {parent_id}: export that experiment"):
            conduct_export(settings.model_copy(update={"runs": (child_id,)}))


def changed(folder: Path) -> None:
    path = next(folder.glob("runs/*/metrics.csv"))
    path.write_bytes(path.read_bytes() + b"test/uar,1.0,0,1\n")


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def without_file(folder: Path) -> None:
    next(folder.glob("runs/*/artifacts/history.csv")).unlink()


def with_file(folder: Path) -> None:
    (folder / "more.txt").write_text("more")


def newer(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))


def garbled(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"experiments": [1]}))


def linked(folder: Path) -> None:
    (folder / "passwords").symlink_to("/etc/passwd")


DAMAGE = [
    (changed, "is damaged: runs/"),
    (without_manifest, "has no manifest.json: it is no archive of export_runs, or damaged"),
    (without_file, "artifacts/history.csv is missing"),
    (with_file, "is damaged: more.txt is not in manifest.json"),
    (newer, "is of format 2, expected 1: a newer version of this project reads it"),
    (garbled, "is damaged: experiments: Input should be an object"),
    (linked, "passwords is a link, expected the files themselves"),
]


def pack_plainly(folder: Path, file: Path) -> None:
    """Zip a folder as it is."""
    with zipfile.ZipFile(file, "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                packed.writestr(entry, os.readlink(path))
            elif path.is_file():
                packed.write(path, path.relative_to(folder).as_posix())


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_damaged_archive_is_refused_before_anything_is_written(archives, abroad, tmp_path, damage, message, kind):
    archive = tmp_path / "archive"
    shutil.copytree(archives("all"), archive)
    damage(archive)
    if kind == "zip":
        pack_plainly(archive, tmp_path / "archive.zip")
        archive = tmp_path / "archive.zip"
    expected = message if kind == "folder" or damage is not linked else "holds 'passwords', which leads out of it"
    with at(abroad) as client, pytest.raises(TrackingError) as refused:
        conduct_import(str(archive), abroad / "checkpoints")
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert parents(client) == []


def test_a_zip_that_leads_out_of_its_folder_that_is_cut_or_that_is_none_is_refused(archives, abroad, tmp_path):
    (tmp_path / "out.zip").write_bytes(archives("all.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "out.zip", "a") as packed:
        packed.writestr("../evil", "evil")
    (tmp_path / "cut.zip").write_bytes(archives("all.zip").read_bytes()[:-500])
    messages = {"out.zip": "holds '../evil', which leads out of it", "cut.zip": "is damaged, or no zip: ", "absent.zip": "no archive "}
    with at(abroad) as client:
        for name, message in messages.items():
            with pytest.raises(TrackingError, match=message):
                conduct_import(str(tmp_path / name), abroad / "checkpoints")
        with pytest.raises(SettingsError, match="archive is not given, expected the zip or the folder that export_runs wrote"):
            conduct_import(None, abroad / "checkpoints")
        assert parents(client) == []
    assert not (tmp_path / "evil").exists()


def import_and_die(archive: Path, folder: Path, number: int) -> None:
    """Import, and be killed after a number of requests that write."""
    left = number

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def call_and_die(*arguments: object, **named: object) -> object:
            nonlocal left
            result = call(*arguments, **named)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call_and_die

    names = ("create_run", "log_batch", "log_inputs", "log_artifacts", "set_terminated", "create_logged_model", "log_outputs", "delete_tag")
    for name in names:
        setattr(mlflow.MlflowClient, name, counted(getattr(mlflow.MlflowClient, name)))
    Sender.log_model = counted(Sender.log_model)  # type: ignore[method-assign]
    with at(folder):
        conduct_import(str(archive), folder / "checkpoints")


def test_an_import_that_is_killed_again_and_again_loses_nothing_and_brings_nothing_twice(home, archives, abroad, tmp_path):
    for number in (1, 2, 3, 6, 9, 12):
        killed = Command.start(tmp_path / "killed.log", import_and_die, archives("all.zip"), abroad, number)
        killed.process.join()
        assert killed.process.exitcode == -signal.SIGKILL, killed.output
    with at(abroad) as client:
        conduct_import(str(archives("all.zip")), abroad / "checkpoints")
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id)
        assert len(client.search_runs([copy.info.experiment_id])) == 4
        assert len(client.search_logged_models([copy.info.experiment_id])) == 3


def test_a_copy_that_an_answer_too_late_doubled_is_deleted(home, archives, abroad, monkeypatch):
    create = mlflow.MlflowClient.create_run

    def twice(*arguments: object, **named: object) -> object:
        create(*arguments, **named)
        return create(*arguments, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", twice)
    with at(abroad) as client:
        conduct_import(str(archives("all.zip")), abroad / "checkpoints")
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id)


def log_interrupted(folder: Path) -> str:
    try:
        with notebook_of(folder) as notebook:
            notebook.parent.tags({"commit": "c" * 40})
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return notebook.parent.run_id


def sync(home: Path, abroad: Path, **given: object) -> None:
    settings = SyncSettings(**{"offline": "x", "unfinished": False, "models": "all"} | given)
    conduct_offline_sync(home / "mlflow.db", settings, abroad / "checkpoints")


def test_a_store_without_a_server_is_synced_once_into_a_server_from_where_it_lies_or_from_a_copy(home, abroad, tmp_path, capsys):
    copied = tmp_path / "usb"
    copied.mkdir()
    shutil.copy(home[0] / "mlflow.db", copied)
    for server in serving(MlflowServer(f"sqlite:///{abroad}/mlflow.db", abroad)):
        client = open_store()
        with pytest.raises(TrackingError, match=r"no file .*absent/mlflow\.db, expected the mlflow\.db of a project"):
            sync(tmp_path / "absent", abroad)
        sync(home[0], abroad)
        assert f"1 experiment brought to {server.uri}, 0 there already" in capsys.readouterr().out
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id)
        shutil.copytree(home[0] / "mlruns", copied / "mlruns")
        sync(copied, abroad)
        assert f"0 experiments brought to {server.uri}, 1 there already" in capsys.readouterr().out


def test_the_files_of_a_copied_store_are_found_beside_it_or_missed(home, abroad, tmp_path):
    copied, moved = tmp_path / "usb", home[0].with_name("away")
    copied.mkdir()
    shutil.copy(home[0] / "mlflow.db", copied)
    (home[0] / "mlruns").rename(moved)
    try:
        with at(abroad) as client:
            with pytest.raises(TrackingError, match=r"there are no files in .*: bring them along with the database"):
                sync(copied, abroad)
            assert parents(client) == []
            shutil.copytree(moved, copied / "mlruns")
            sync(copied, abroad)
    finally:
        moved.rename(home[0] / "mlruns")
    with at(abroad) as client:
        (copy,) = parents(client)
        assert equal_to_home(home, client, copy.info.run_id)


def test_an_interrupted_experiment_is_synced_if_asked_and_again_when_it_was_resumed(fresh_database, abroad, tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    copy_store(fresh_database, home)
    with at(home) as source:
        parent_id = log_interrupted(home / "outbox")
        assert source.get_run(parent_id).info.status == "KILLED"
    with at(abroad) as client:
        sync(home, abroad)
        assert "1 experiment failed or interrupted: unfinished=true brings them, too" in capsys.readouterr().out
        sync(home, abroad, unfinished=True)
        (copy,) = parents(client)
        assert (copy.info.status, copy.data.tags[IMPORTED_TAG].partition(" ")[2]) == ("KILLED", "KILLED")
    time.sleep(0.002)  # it ends later
    with at(home), notebook_of(home / "outbox", resume=parent_id) as notebook:
        notebook.parent.metrics({"test/uar_mean": 0.5})
    with at(abroad) as client:
        sync(home, abroad)
        (again,) = parents(client)
        assert (again.info.run_id, again.info.status, again.data.metrics["test/uar_mean"]) == (copy.info.run_id, "FINISHED", 0.5)
        with pytest.raises(TrackingError, match=r"mlflow\.db is the tracking store in use: set MLFLOW_TRACKING_URI to the server"):
            sync(abroad, abroad)
