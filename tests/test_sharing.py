"""Data that travel: a colleague's clone gets what DVC built, imported tables and caches, and computes nothing."""

import contextlib
import getpass
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from tests.places import ENVIRONMENT
from tests.project import Project, metrics_of
from tests.servers import S3Server, SshServer
from tests.tracking.builders import copy_store

pytestmark = pytest.mark.timeout(600)
NAMES = ("folder", "ssh", "s3")


@contextlib.contextmanager
def remote_of(name: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """Storage of a kind, as the settings of a DVC remote."""
    if name == "folder":
        yield {"url": str(folder / "remote")}
    elif name == "ssh":
        if SshServer.find() is None:
            pytest.skip("no sshd (Debian: openssh-server)")
        pytest.importorskip("dvc_ssh", reason="dvc-ssh is not installed (pip install -e .[remotes])")
        server = SshServer(folder)
        server.start()
        try:
            yield {"url": f"ssh://{getpass.getuser()}@127.0.0.1:{server.port}{folder}/remote", "keyfile": str(server.key)}
        finally:
            server.kill()
    else:
        for module in ("dvc_s3", "moto"):
            pytest.importorskip(module, reason=f"{module} is not installed (pip install -e .[remotes,dev])")
        server = S3Server(folder)
        server.start("laboratory")
        try:
            keys = {"access_key_id": "laboratory", "secret_access_key": "of the test", "region": "us-east-1"}
            yield {"url": "s3://laboratory/ser", "endpointurl": server.url, **keys}
        finally:
            server.kill()


def name_remote(project: Project, remote: Mapping[str, str]) -> None:
    """What `dvc remote add --local --default shared URL` and `dvc remote modify --local shared NAME VALUE` write."""
    lines = ["[core]", "    remote = shared", "['remote \"shared\"']", *(f"    {key} = {value}" for key, value in remote.items())]
    (project.root / ".dvc/config.local").write_text("\n".join(lines) + "\n")


def clone(project: Project, root: Path, remote: Mapping[str, str]) -> Project:
    """A colleague's: what git has, on another machine."""
    subprocess.run(["git", "clone", "--quiet", project.root, root], check=True)
    (root / ".venv").symlink_to(ENVIRONMENT)
    colleague = Project(root)
    name_remote(colleague, remote)
    return colleague


@pytest.fixture(scope="module")
def pushing(project) -> Project:
    """Whoever built the data, with everything committed."""
    project.commit("what the stages made")
    return project


@pytest.mark.parametrize("name", NAMES)
def test_what_is_pushed_is_pulled_and_nothing_is_decoded(pushing, name, tmp_path):
    with remote_of(name, tmp_path) as remote:
        name_remote(pushing, remote)
        pushing.run("dvc", "push")
        colleague = clone(pushing, tmp_path / "colleague", remote)
        assert not (colleague.root / "data/audio/SAVEE.npy").exists()
        colleague.run("dvc", "pull")
        assert "Data and pipelines are up to date." in colleague.run("dvc", "repro")
    for path in ("data/audio/SAVEE.npy", "data/frames/CREMA.parquet", "reports/data/index.md"):
        assert (colleague.root / path).read_bytes() == (pushing.root / path).read_bytes()


TRAINING = {"test_dataset": "SAVEE", "model": "tiny", "freeze": "encoder", "epochs": "2", "rounds": "1", "cache": "require"}


def test_a_clone_without_recordings_trains_on_what_it_was_sent_and_computes_none_of_it(project, tmp_path):
    """The recordings lie behind the link data/raw, their labels in an imported table, and a frozen part in a cache."""
    shutil.copytree(project.root / "data/demo/SAVEE", tmp_path / "recordings/SAVEE")
    owner = project.copy(tmp_path / "owner")
    (owner.root / "data/raw").symlink_to(tmp_path / "recordings")
    owner.set(raw="data/raw", corpora="[SAVEE]")
    for corpus in ("CREMA", "TESS"):
        for left in owner.root.glob(f"data/*/{corpus}.*"):
            left.unlink()
    frame = pd.read_parquet(project.root / "data/frames/SAVEE.parquet", columns=["path", "labels", "emotions", "fold"])
    for part, rows in (("test", frame[frame["fold"] == 0]), ("train", frame[frame["fold"] != 0])):
        rows[["path", "labels", "emotions"]].to_pickle(tmp_path / f"D.SAVEE_{part}_DF.p")
    owner.run_here("pipelines.import_frames", folder=str(tmp_path))
    assert "frames@SAVEE" in owner.repro()
    owner.commit("imported")
    trained = owner.opened(owner.run_here("pipelines.train", **TRAINING))
    with remote_of("folder", tmp_path) as remote:
        name_remote(owner, remote)
        owner.run("dvc", "push")
        colleague = clone(owner, tmp_path / "colleague", remote)
        colleague.run("dvc", "pull")

    assert "catalogue@SAVEE" in colleague.run("dvc", "status"), "the imported table is not in git and not in the remote"
    for travelling in ("data/imported", "cache"):
        shutil.copytree(owner.root / travelling, colleague.root / travelling, dirs_exist_ok=True)
    assert colleague.repro("--allow-missing") == []
    caches = {path: path.stat().st_mtime_ns for path in (colleague.root / "cache").glob("*.npy")}
    assert caches
    copy_store(owner.store, colleague.root)
    again = colleague.opened(colleague.run_here("pipelines.train", **TRAINING))
    assert {path: path.stat().st_mtime_ns for path in (colleague.root / "cache").glob("*.npy")} == caches
    assert metrics_of(again) == metrics_of(trained)
    assert not (colleague.root / "data/raw").exists()
