"""The server of examples/server: what its compose file says, run as processes; a member trains against it, and a backup brings it back."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException

from tests.compose import Composition
from tests.project import ROOT
from tests.servers import Postgres
from tests.tracking.builders import content_of_experiment, in_store

pytestmark = pytest.mark.timeout(600)
HOST = "tracking.example.org"
PASSWORD = "of anna's own choice"
GIVEN = {"test_dataset": "SAVEE", "model": "tiny", "freeze": "encoder", "lr": "3.0e-3", "epochs": "2", "rounds": "1"}


@pytest.fixture(scope="module")
def group() -> Iterator[Composition]:
    """The running server with an account for anna and one for bert."""
    if Postgres.find() is None:
        pytest.skip("PostgreSQL is not installed (initdb is neither on the path nor under /usr/lib/postgresql)")
    for module in ("psycopg2", "boto3", "moto", "flask_wtf"):
        pytest.importorskip(module, reason=f"{module} is not installed (pip install -e .[server,dev])")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # PostgreSQL runs as another user
    composition = Composition(folder / "server")
    shutil.copytree(ROOT / "examples/server", composition.folder, ignore=shutil.ignore_patterns(".env", "backups"))
    try:
        composition.script("./passwords.sh", HOST)
        composition.up()
        for name in ("anna", "bert"):
            account = {"username": name, "password": PASSWORD}
            admin = ("admin", composition.variables["ADMIN_PASSWORD"])
            requests.post(f"{composition.uri}/api/2.0/mlflow/users/create", json=account, auth=admin, timeout=60).raise_for_status()
        yield composition
    finally:
        composition.down()
        shutil.rmtree(folder)


def account(group: Composition, name: str = "anna", password: str = PASSWORD) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": group.uri, "MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}


@contextlib.contextmanager
def as_member(group: Composition, name: str = "anna") -> Iterator[mlflow.MlflowClient]:
    """Use the server from here, with an account."""
    with pytest.MonkeyPatch.context() as patch, in_store(group.uri, group.folder):
        for variable, value in account(group, name).items():
            patch.setenv(variable, value)
        yield mlflow.MlflowClient()


@pytest.fixture(scope="module")
def run_id(group, project) -> str:
    """The experiment that anna ran."""
    code, printed, told = project.call("pipelines.train", GIVEN, account(group))
    assert code == 0, printed + told
    (line,) = [line for line in printed.splitlines() if line.startswith("open in the MLflow UI")]
    return line.rpartition("/")[2].partition("?")[0]


def refusal(project, variables: dict[str, str]) -> str:
    code, _, told = project.call("pipelines.train", GIVEN, variables)
    assert code != 0
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    return line


def test_a_wrong_password_is_refused_in_one_line(group, project):
    assert refusal(project, account(group, password="wrong")) == (
        f"error: tracking server {group.uri} does not accept the password of 'anna': "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


def test_without_an_account_nobody_gets_in(group, project):
    assert refusal(project, {"MLFLOW_TRACKING_URI": group.uri}) == (
        f"error: tracking server {group.uri} wants an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
    assert requests.get(f"{group.uri}/api/2.0/mlflow-artifacts/artifacts", timeout=60).status_code == 401


def test_a_name_that_is_not_among_the_allowed_hosts_is_refused(group, project):
    def answer(host: str) -> int:
        return requests.get(group.uri, headers={"Host": host}, auth=("anna", PASSWORD), timeout=60).status_code

    assert answer(HOST) == 200
    assert answer("elsewhere.example.org") == 403
    port = group.uri.rpartition(":")[2]
    assert refusal(project, account(group) | {"MLFLOW_TRACKING_URI": f"http://127.1:{port}"}) == (
        f"error: tracking server http://127.1:{port} does not go by that name: whoever runs it adds 127.1:{port} to its --allowed-hosts"
    )


def test_the_page_may_ask_under_the_name_of_the_server_and_no_other_page_may(group):
    def answer(origin: str) -> int:
        search, headers = f"{group.uri}/ajax-api/2.0/mlflow/experiments/search", {"Host": HOST, "Origin": origin}
        return requests.post(search, json={"max_results": 1}, headers=headers, auth=("anna", PASSWORD), timeout=60).status_code

    assert [answer(f"https://{name}") for name in (HOST, "elsewhere.example.org")] == [200, 403]


def test_a_member_reads_and_writes_the_runs_of_another_and_cannot_delete_them(group, run_id):
    with as_member(group, "bert") as client:
        client.set_tag(run_id, "note", "seen by bert")
        assert client.get_run(run_id).data.tags["note"] == "seen by bert"
        with pytest.raises(MlflowException, match="Permission denied"):
            client.delete_run(run_id)


def test_what_is_lost_after_a_backup_is_restored_as_it_was(group, run_id):
    """The backup is the one that an upgrade begins with."""
    with as_member(group) as client:
        before = content_of_experiment(client, run_id)
    assert before["parent"]["artifacts"]
    assert all(content["models"] for key, content in before.items() if key != "parent")
    told = group.script("./upgrade.sh")
    dump = re.search(r"^(backups/database-\S+\.dump) and backups/artifacts$", told, re.MULTILINE)[1]

    for name in ("server", "storage", "database"):
        group.stop(name)
    shutil.rmtree(group.state / "volumes/database")
    assert "0 of 0 files" not in told
    group.script("./restore.sh", dump)
    with as_member(group) as client:
        assert content_of_experiment(client, run_id) == before
    assert "save: 0 of " in group.script("./backup.sh"), "what was restored is fetched again"


def test_the_server_is_of_the_version_of_its_clients(group):
    images = {service["image"] for service in group.services.values()}
    (image,) = [image for image in images if "mlflow" in image]
    (pin,) = re.findall(r"^mlflow==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert image == f"ghcr.io/mlflow/mlflow:v{pin}-full"
    assert all(re.search(r":v?\d", image) for image in images)
