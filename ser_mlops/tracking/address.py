"""Checks that a tracking URI can be opened at all, within seconds and with a reason.

MLflow itself tries a database that does not answer for two minutes, and takes a host without http:// for a folder.
"""

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import requests
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from ser_mlops.errors import TrackingError

CONNECT_S = 5
DRIVERS_WITH_TIMEOUT = frozenset({"psycopg", "psycopg2", "pymysql", "mysqldb"})
"""Database drivers that have `connect_timeout`."""
SQLITE_HEADER = b"SQLite format 3\0"
ACCEPTED = "sqlite:///mlflow.db, postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE or http://HOST:PORT"
OTHER_SCHEMES = frozenset({"mssql", "databricks", "databricks-uc", "uc"})
"""Left to MLflow."""


class StoreError(TrackingError):
    """The tracking store itself cannot be used: nothing can be written to it, not even why a command failed."""


def check_address(uri: str) -> None:
    """Raise StoreError where a tracking URI cannot be opened; schemes that MLflow alone knows are left to it."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if uri != uri.strip():
        raise StoreError(f"tracking URI {uri!r} has spaces at its ends, expected {uri.strip()!r}")
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        raise StoreError(f"tracking URI {uri}: http:// is missing, expected MLFLOW_TRACKING_URI=http://{uri}")
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme.startswith(("postgres", "mysql")):
        _check_database(uri)
    elif uri.endswith((".db", ".sqlite", ".sqlite3")) and ":" not in uri:
        raise StoreError(f"tracking URI {uri}: sqlite:/// is missing, expected MLFLOW_TRACKING_URI=sqlite:///{uri}")
    elif scheme not in OTHER_SCHEMES and re.match(r"[\w+.-]+:", uri) and scheme != "file":
        raise StoreError(f"tracking URI {uri}: unknown kind of store {scheme!r}, expected {ACCEPTED}")
    elif scheme not in OTHER_SCHEMES:
        raise StoreError(f"tracking URI {uri} is a folder, which MLflow no longer accepts as a tracking store, expected {ACCEPTED}")


def _check_server(uri: str) -> None:
    try:
        address = urlsplit(uri)
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError as error:
        raise StoreError(f"tracking URI {uri}: {error}, expected http://HOST:PORT") from error
    if requests.utils.get_environ_proxies(uri, no_proxy=None):
        return  # the proxy connects, and MLflow says what it answers
    if not address.hostname:
        raise StoreError(f"tracking URI {uri} names no host, expected http://HOST:PORT")
    try:
        socket.create_connection((address.hostname, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise StoreError(
            f"no tracking server answers at {uri} ({error}): start it, set MLFLOW_TRACKING_URI to another, or unset it to run without one "
            "and bring the runs later (-e sync -P offline=mlflow.db)"
        ) from error


def _check_sqlite(uri: str) -> None:
    if re.match(r"sqlite[^:]*:(/?[^/]|//[^/])", uri):
        is_absolute = re.match(r"[^:]*:/[^/]", uri) is not None
        meant = re.sub(r"^[^:]*:/*", "/" if is_absolute else "", uri)
        raise StoreError(f"tracking URI {uri}: slashes are missing, expected sqlite:///{meant}")
    database = sqlalchemy.make_url(uri).database
    if not database or database == ":memory:":
        return
    path = Path(database)
    if path.is_dir():
        raise StoreError(f"tracking URI {uri} is a folder, expected a file: sqlite:///{path / 'mlflow.db'}")
    if not path.parent.is_dir():
        raise StoreError(f"tracking URI {uri}: there is no folder {path.parent}")
    try:
        with path.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
    except FileNotFoundError:
        return  # it is created
    except OSError as error:
        raise StoreError(f"tracking URI {uri} cannot be read: {error.strerror}") from error
    if header not in (b"", SQLITE_HEADER):
        raise StoreError(f"tracking URI {uri} is not an SQLite database, expected another file")


def _check_database(uri: str) -> None:
    shown, scheme = uri, uri.partition(":")[0]
    try:
        address = sqlalchemy.make_url(uri)
        shown = address.render_as_string(hide_password=True)
        takes_timeout = address.get_driver_name() in DRIVERS_WITH_TIMEOUT
        engine = sqlalchemy.create_engine(address, connect_args={"connect_timeout": CONNECT_S} if takes_timeout else {})
        engine.connect().close()
        engine.dispose()
    except ImportError as error:
        driver = "postgresql+psycopg2" if scheme.startswith("postgres") else "mysql+pymysql"
        raise StoreError(f"tracking URI {shown} needs the package {error.name}, which is not installed, expected {driver}://…") from error
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise StoreError(f"tracking database {shown} cannot be opened: {reason}") from error
