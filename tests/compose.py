"""The services of examples/server/compose.yaml as processes, for machines without Docker.

Each service runs its own command in its own environment, and is waited for by its own health check. Only addresses, the folders of
volumes and the number of workers are replaced by what they are here. The installed PostgreSQL plays the image of the database, moto
the one of the storage.
`python -m tests.compose FOLDER compose …` takes the words that scripts say to `docker`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from tests.places import ENVIRONMENT, ROOT  # what each call of `docker` imports is light
from tests.servers import PATIENCE_S, Postgres, S3Server, free_port, wait_for_port

PORTS = {"database": "5432", "storage": "8333", "server": "5000"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True)
class Composition:
    """A copy of the folder of a compose file."""

    folder: Path
    """Read by PostgreSQL, which runs as another user."""

    @cached_property
    def state(self) -> Path:
        """Volumes, logs, and which processes run."""
        state = self.folder / "state"
        if not state.exists():
            state.mkdir()
            (state / "volumes").mkdir()
            (state / "ports.json").write_text(json.dumps({port: free_port() for port in PORTS.values()}))
        return state

    @cached_property
    def ports(self) -> dict[str, int]:
        return json.loads((self.state / "ports.json").read_text())

    @cached_property
    def variables(self) -> dict[str, str]:
        """What .env sets."""
        lines = (self.folder / ".env").read_text().splitlines() if (self.folder / ".env").exists() else []
        return dict(line.split("=", 1) for line in lines)

    @cached_property
    def services(self) -> dict[str, Any]:
        return YAML(typ="safe").load(VARIABLE.sub(self._value, (self.folder / "compose.yaml").read_text(encoding="utf-8")))["services"]

    def _value(self, found: "re.Match[str]") -> str:
        name, operator, rest = found.groups()
        if value := self.variables.get(name):
            return value
        if operator == "?":
            sys.exit(f"error: {name} is not set: {rest}")
        return rest if operator == "-" else ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.ports[PORTS['server']]}"

    def here(self, name: str, text: str) -> str:
        """A text of a service with the addresses and folders of this machine."""
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            text = text.replace(target, str(self.folder / source if source.startswith(".") else self.state / "volumes" / source))
        text = re.sub(r"(?<=//)(database|storage)(?=:)|^(database|storage)$|\b0\.0\.0\.0\b", "127.0.0.1", text)
        return re.sub(rf"(?<![\w.])({'|'.join(PORTS.values())})\b", lambda port: str(self.ports[port[0]]), text)

    def environment(self, name: str) -> dict[str, str]:
        """What a service's processes get; nothing of ours but the programs."""
        programs = [str(ENVIRONMENT / "bin"), str(Postgres.find()), os.environ["PATH"]]
        given = {key: self.here(name, str(value)) for key, value in self.services[name].get("environment", {}).items()}
        return {"PATH": os.pathsep.join(programs), "HOME": str(self.state), **given}

    def command(self, name: str) -> list[str]:
        """What a service runs; the server has one worker, as each takes seconds to start."""
        return [self.here(name, re.sub(r"^--workers=\d+$", "--workers=1", word)) for word in self.services[name]["command"]]

    def run(self, name: str) -> None:
        """Run a service that ends."""
        assert self.services[name]["profiles"] == ["once"]
        subprocess.run(self.command(name), env=self.environment(name), cwd=self.state, check=True)

    def up(self, *names: str) -> None:
        """Start services that do not run, after those that they wait for, until they are healthy."""
        for name in names or [name for name, service in self.services.items() if "profiles" not in service]:
            if not self._is_up(name):
                if "depends_on" in self.services[name]:
                    self.up(*self.services[name]["depends_on"])
                getattr(self, f"_start_{name}")()

    def _is_up(self, name: str) -> bool:
        note = self.state / f"{name}.pid"
        try:  # one that another process of ours started stays as a zombie until that one looks
            return note.exists() and psutil.Process(int(note.read_text())).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _start_database(self) -> None:
        told = self.services["database"]["environment"]
        database = self._database()
        if database.folder.exists():
            database.start()
        else:
            database.create()
            self._client("createdb", told["POSTGRES_DB"])
        self._note("database", int((database.folder / "postmaster.pid").read_text().splitlines()[0]))
        self._wait("database")

    def _database(self) -> Postgres:
        told = self.services["database"]["environment"]
        folder, port = self.state / "volumes/database", self.ports[PORTS["database"]]
        return Postgres(Postgres.find(), folder, port, told["POSTGRES_USER"], told["POSTGRES_PASSWORD"])

    def _client(self, program: str, *words: str) -> None:
        told = self.services["database"]["environment"]
        address = ["--host=127.0.0.1", f"--port={self.ports[PORTS['database']]}", f"--username={told['POSTGRES_USER']}"]
        variables = {**self.environment("database"), "PGPASSWORD": told["POSTGRES_PASSWORD"]}
        subprocess.run([program, *address, *words], env=variables, check=True)

    def _start_storage(self) -> None:
        storage = S3Server(self.state, self.ports[PORTS["storage"]])
        storage.start(self.services["storage"]["environment"]["S3_BUCKET"])
        self._note("storage", storage.process.pid)

    def _start_server(self) -> None:
        with (self.state / "server.log").open("ab") as log:
            server = subprocess.Popen(
                self.command("server"), stdout=log, stderr=log, start_new_session=True, cwd=self.state, env=self.environment("server")
            )
        self._note("server", server.pid)
        wait_for_port(self.ports[PORTS["server"]], server, "server")  # each health check starts a Python
        self._wait("server")

    def _note(self, name: str, pid: int) -> None:
        (self.state / f"{name}.pid").write_text(str(pid))

    def _wait(self, name: str) -> None:
        """Wait until a service's health check succeeds."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = [self.here(name, word) for word in test]
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(check, env=self.environment(name), cwd=self.state, capture_output=True, check=False).returncode:
            log = self.state / f"{name}.log"
            assert self._is_up(name), log.read_text() if log.exists() else f"{name} ended"
            assert time.monotonic() < deadline, f"{name} is not healthy"
            time.sleep(0.2)

    def stop(self, name: str) -> None:
        if not self._is_up(name):
            return
        if name == "database":
            self._database().stop()
        else:
            os.killpg(int((self.state / f"{name}.pid").read_text()), signal.SIGKILL)
            while self._is_up(name):
                time.sleep(0.05)
        (self.state / f"{name}.pid").unlink()

    def down(self) -> None:
        for name in ("server", "storage", "database"):
            self.stop(name)

    def script(self, *words: str) -> str:
        """Run one of the folder's scripts with this in the place of `docker`; return what it printed."""
        programs = self.state / "programs"
        programs.mkdir(exist_ok=True)
        docker = programs / "docker"
        docker.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.compose {self.folder} "$@"\n')
        docker.chmod(0o755)
        variables: Mapping[str, str] = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.state)}
        ended = subprocess.run(words, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


def main(folder: str, words: Sequence[str]) -> None:
    """Do what `docker compose …` says."""
    composition = Composition(Path(folder))
    match [word for word in words if word not in ("--rm", "--detach", "--wait")]:
        case ["compose", "run", name]:
            composition.run(name)
        case ["compose", "up", *names]:
            composition.up(*names)
        case ["compose", "stop", name]:
            composition.stop(name)
        case ["compose", "pull", _]:
            pass  # the packages are installed
        case _:
            sys.exit(f"error: {' '.join(words)!r} is not what this stands for")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
