"""Real servers on loopback ports, for tests: `mlflow server`, PostgreSQL, ssh, S3 and a Slurm cluster of one node."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

PATIENCE_S = 600


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class MlflowServer:
    """An `mlflow server` that can be killed and started again on its port."""

    backend: str
    """URI of the database."""
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), *options]
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                env=environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "mlflow server did not come up"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """Kill it with everything it started, at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@dataclass
class Postgres:
    """A PostgreSQL cluster of its own in a folder, stopped and started at will; as another user where we are root, whom it refuses."""

    binaries: Path
    folder: Path
    port: int = field(default_factory=free_port)
    user: str = "laboratory"
    password: str = ""
    """Empty: nobody is asked for one."""

    @staticmethod
    def find() -> Path | None:
        """Return the folder of PostgreSQL's programs, if it is installed."""
        installed = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
        on_path = shutil.which("initdb")
        return Path(on_path).resolve().parent if on_path else installed[-1] if installed else None

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://{self.user}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        self.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        options = [f"--username={self.user}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        if self.password:
            note = self.folder.with_name(f"{self.folder.name}.password")
            note.write_text(self.password)
            self._run("initdb", *options, "--auth=scram-sha-256", f"--pwfile={note}")
            note.unlink()
        else:
            self._run("initdb", *options, "--auth=trust")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--log", str(self.folder / "log"), "--options", options)

    def stop(self) -> None:
        """Stop it as an outage would, without waiting for its clients."""
        self._run("pg_ctl", "stop", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), "--pgdata", str(self.folder), *arguments]
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_port(port: int, process: subprocess.Popen, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, f"{what} ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.05)


@dataclass
class SshServer:
    """An sshd that lets the user of this process in, with one key."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen | None = None

    @staticmethod
    def find() -> str | None:
        """Return where sshd is, if it is installed."""
        return shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")

    @property
    def key(self) -> Path:
        return self.folder / "user"

    def start(self) -> None:
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd as root wants it, and Debian's service would have made it
        options = {
            "ListenAddress": "127.0.0.1",
            "AuthorizedKeysFile": self.folder / "user.pub",
            "StrictModes": "no",  # which refuses keys below /tmp
            "UsePAM": "no",
            "PidFile": "none",
            "Subsystem": "sftp internal-sftp",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        command = [self.find(), "-D", "-e", "-f", "/dev/null", "-p", str(self.port), "-h", str(self.folder / "host"), *words]
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_for_port(self.port, self._process, "sshd")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass
class S3Server:
    """moto's S3, in memory: what it holds is gone when it ends. It lets anybody in."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, bucket: str) -> None:
        with (self.folder / "s3.log").open("ab") as log:
            command = [sys.executable, "-m", "moto.server", "--host=127.0.0.1", f"--port={self.port}"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
        wait_for_port(self.port, self.process, "moto")
        requests.put(f"{self.url}/{bucket}", timeout=PATIENCE_S).raise_for_status()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


CLUSTER = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=600
MailProg=/bin/true
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""
"""Neither munge nor cgroups nor systemd, nobody else's limits; jobs start within a second, and a requeued one after five more."""


@dataclass
class SlurmCluster:
    """A controller and one node of four cores on loopback, started and stopped by the tests; they need to be root for it."""

    folder: Path
    _daemons: list[subprocess.Popen] = field(default_factory=list)

    @staticmethod
    def obstacle() -> str:
        """Return why there can be no cluster here; empty if there can."""
        missing = [program for program in ("slurmctld", "slurmd", "sbatch") if shutil.which(program) is None]
        return f"no {', '.join(missing)} (Debian: slurm-wlm)" if missing else "" if os.geteuid() == 0 else "slurmd needs root"

    @property
    def variables(self) -> dict[str, str]:
        """What Slurm's commands need to find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        ports = {"controller_port": free_port(), "node_port": free_port()}
        (self.folder / "slurm.conf").write_text(CLUSTER.format(host=host, folder=self.folder, **ports))
        gpus = [self.folder / f"gpu{number}" for number in (0, 1)]  # Slurm hands out these files as if they were devices
        for gpu in gpus:
            gpu.touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")
        self._daemons += [self._begin("slurmctld"), self._begin("slurmd")]
        self._wait_for_node()

    def _begin(self, daemon: str) -> subprocess.Popen:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([daemon, "-D", "-f", self.variables["SLURM_CONF"]], cwd=self.folder, start_new_session=True, **quiet)

    def _wait_for_node(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.run("sinfo", "--noheader", "--format=%T") != "idle":
            assert time.monotonic() < deadline, "".join(path.read_text() for path in self.folder.glob("slurm*.log"))
            time.sleep(0.1)

    def lose_node(self) -> None:
        """Kill the node with everything that runs on it, as a power cut does, let the controller notice, and switch it on again."""
        controller, node = self._daemons
        steps = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "slurmstepd"]
        for process in [psutil.Process(node.pid), *steps, *(child for step in steps for child in step.children(recursive=True))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()
        self.run("scontrol", "update", f"nodename={self.run('sinfo', '--noheader', '--format=%n')}", "state=down", "reason=lost")
        self._daemons[:] = [controller, self._begin("slurmd")]
        self._wait_for_node()

    def stop(self) -> None:
        """Cancel what is queued, wait for it to end, and end both daemons."""
        self.run("scancel", "--user=root")
        deadline = time.monotonic() + 20
        while self._daemons and self.run("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.1)
        for daemon in self._daemons:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        self._daemons.clear()

    def run(self, *command: str) -> str:
        ended = subprocess.run(command, env={**os.environ, **self.variables}, capture_output=True, text=True, check=False)
        return ended.stdout.strip()


def opened_page(process: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """Wait until a command has printed where its page is; return the address, and the lines up to there."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"open (http\S+)", line):
            return found[1], lines
    pytest.fail("".join(lines))
