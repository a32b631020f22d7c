"""A tracking URI that cannot be opened is refused in one line that says why, before MLflow tries it for minutes."""

import sqlite3

import pytest

from ser_mlops.tracking.address import StoreError, check_address
from ser_mlops.tracking.store import open_store
from tests.servers import free_port
from tests.tracking.builders import in_store


def refusal(uri: str) -> str:
    with pytest.raises(StoreError) as refused:
        check_address(uri)
    (line,) = str(refused.value).splitlines()
    return line


def test_a_database_that_is_away_is_named_without_its_password():
    address = f"127.0.0.1:{free_port()}"
    line = refusal(f"postgresql+psycopg2://ser:secret@{address}/mlflow")
    assert line.startswith(f"tracking database postgresql+psycopg2://ser:***@{address}/mlflow cannot be opened: ")
    assert "Connection refused" in line


def test_a_driver_that_is_not_installed_is_named():
    assert "not installed" in refusal("postgresql+pg8000://ser@127.0.0.1/mlflow")


def test_a_database_that_does_not_exist_is_named(postgres):
    line = refusal(f"{postgres.uri.rpartition('/')[0]}/nowhere")
    assert 'database "nowhere" does not exist' in line


def test_a_database_that_answers_is_accepted(postgres):
    check_address(postgres.uri)


def test_a_folder_is_no_database(tmp_path):
    assert (
        refusal(f"sqlite:///{tmp_path}")
        == f"tracking URI sqlite:///{tmp_path} is a folder, expected a file: sqlite:///{tmp_path}/mlflow.db"
    )


def test_a_text_file_is_no_database(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database")
    assert (
        refusal(f"sqlite:///{tmp_path}/notes.txt")
        == f"tracking URI sqlite:///{tmp_path}/notes.txt is not an SQLite database, expected another file"
    )


def test_a_database_in_a_folder_that_is_missing_is_refused(tmp_path):
    assert refusal(f"sqlite:///{tmp_path}/no/mlflow.db").endswith(f"there is no folder {tmp_path}/no")


def test_a_new_database_and_one_that_is_there_are_accepted(tmp_path):
    check_address(f"sqlite:///{tmp_path}/new.db")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("create table t (x)")
    check_address(f"sqlite:///{tmp_path}/old.db")
    check_address("sqlite://")


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "tracking.example.org:5000", "localhost:8080/mlflow"])
def test_a_host_without_http_is_told_so(host):
    assert refusal(host) == f"tracking URI {host}: http:// is missing, expected MLFLOW_TRACKING_URI=http://{host}"


@pytest.mark.parametrize("folder", ["./mlruns", "/data/mlruns", "file:///data/mlruns"])
def test_a_folder_of_files_is_no_tracking_store(folder):
    assert refusal(folder).startswith(f"tracking URI {folder} is a folder, which MLflow no longer accepts")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mlflow.db", "sqlite:/// is missing, expected MLFLOW_TRACKING_URI=sqlite:///mlflow.db"),
        ("sqlite:/data/x.db", "slashes are missing, expected sqlite:////data/x.db"),
        ("sqlite:x.db", "slashes are missing, expected sqlite:///x.db"),
        ("sqlite://x.db", "slashes are missing, expected sqlite:///x.db"),
        ("http://127.0.0.1:5000 ", "has spaces at its ends, expected 'http://127.0.0.1:5000'"),
        ("http://host:50a0", "expected http://HOST:PORT"),
        ("http:/localhost:5000", "names no host, expected http://HOST:PORT"),
        ("htp://host:5000", "unknown kind of store 'htp', expected sqlite:///mlflow.db, "),
        ("s3://bucket/runs", "unknown kind of store 's3', expected sqlite:///mlflow.db, "),
    ],
)
def test_a_slip_of_the_pen_is_told_what_is_meant(uri, said):
    assert said in refusal(uri)


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "mssql+pyodbc://user@host/mlflow"])
def test_stores_that_mlflow_alone_knows_are_left_to_it(uri):
    check_address(uri)


def test_a_server_that_is_away_is_named(tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    assert refusal(uri).startswith(f"no tracking server answers at {uri} (")
    with in_store(uri, tmp_path), pytest.raises(StoreError, match="no tracking server answers"):
        open_store()


def test_a_server_that_answers_is_accepted(server):
    check_address(server.uri)
