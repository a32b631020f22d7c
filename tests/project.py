"""A copy of the project in which tests run its commands, so that the checkout they run from stays as it is."""

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.utils.environment import _PythonEnv
from mlflow.utils.virtualenv import _get_virtualenv_name

from ser_mlops.tracking.command import run_tracked_command
from tests.places import ENVIRONMENT, ROOT
from tests.processes import Command, Signal, run_module
from tests.tracking.builders import copy_store

FOREIGN = ("MLFLOW_", "SLURM_", "DVC_", "HF_", "PYTEST_", "GIT_", "MAKE", "MFLAGS", "PYTHONDONTWRITEBYTECODE")
"""Beginnings of variables that would bring the caller's own set-up along."""
RUNS = ("mlflow.db", "mlruns", "checkpoints", "cache")


@dataclass(frozen=True)
class Project:
    """The folder of a copy."""

    root: Path
    store: Path | None = None
    """The database of a store without runs that its copies get; where there is none, the first command in a copy creates one."""

    @classmethod
    def of_checkout(cls, root: Path) -> "Project":
        """Copy the tracked files as they are now into a repository of their own, with a link to the environment."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        (root / ".venv").symlink_to(ENVIRONMENT)
        project = cls(root)
        project.commit("a copy")
        return project

    def commit(self, message: str) -> None:
        me = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", *me, "commit", "--quiet", "--message", message)

    def copy(self, root: Path) -> "Project":
        """Copy this copy with its data, without its runs."""
        shutil.copytree(self.root, root, symlinks=True, ignore=lambda folder, _: RUNS if folder == str(self.root) else ())
        if self.store is not None:
            copy_store(self.store, root)
        return Project(root, self.store)

    def set(self, **values: str) -> None:
        """Set keys of params.yaml, the first of each name."""
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        for key, value in values.items():
            text, found = re.subn(rf"^  {key}: .*$", f"  {key}: {value}", text, count=1, flags=re.MULTILINE)
            assert found, key
        path.write_text(text, encoding="utf-8")

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a command in the copy, with its environment first on the path and nothing else set."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{self.root / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        own |= {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
        return subprocess.Popen(
            command, cwd=self.root, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    def run(self, *command: str, **variables: str) -> str:
        """Run a command that must succeed; return what it printed."""
        process = self.start(*command, **variables)
        output, _ = process.communicate()
        assert process.returncode == 0, f"{' '.join(command)}: exit code {process.returncode}\n{output}"
        return output

    def call(self, module: str, parameters: Mapping[str, str], variables: Mapping[str, str] | None = None) -> tuple[object, str, str]:
        """Run a module of the project in this process, which saves the seconds that one of its own takes to start.

        Returns its exit code, what it printed and what it wrote to stderr.
        """
        printed, told = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(told),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in (variables or {"MLFLOW_TRACKING_URI": f"sqlite:///{self.root}/mlflow.db"}).items():
                patch.setenv(name, value)
            patch.setattr("sys.argv", [module, *words_of(parameters)])
            with pytest.raises(SystemExit) as ended:
                run_tracked_command(module.rpartition(".")[2], importlib.import_module(module).main)
        return ended.value.code, printed.getvalue(), told.getvalue()

    def fork(self, module: str, parameters: Mapping[str, str], threads: int = 1, disturbance: Signal | None = None) -> Command:
        """Start a module in a process that finds everything imported, which saves those seconds too; for what is to be killed."""
        logs = self.root.with_name(f"{self.root.name}_logs")
        logs.mkdir(exist_ok=True)
        log = logs / f"{len(list(logs.iterdir()))}.log"
        return Command.start(log, run_module, self.root, module, words_of(parameters), threads, disturbance)

    def run_here(self, module: str, **parameters: str) -> str:
        """Run a module that must succeed in this process; return what it printed."""
        code, printed, told = self.call(module, parameters)
        assert code == 0, printed + told
        return printed

    def help_of(self, module: str) -> str:
        """Return what `python -m module --help` prints."""
        code, printed, told = self.call(module, {"help": ""})
        assert (code, told) == (0, "")
        return printed

    def refuse_here(self, module: str, **parameters: str) -> str:
        """Run a module that must be refused in this process; return the one line that says why."""
        code, _, told = self.call(module, parameters)
        assert code == 2
        (line,) = told.splitlines()
        return line

    def refuse(self, *command: str, **variables: str) -> str:
        """Run a command that must fail; return the one line in which it says why."""
        process = self.start(*command, **variables)
        output, _ = process.communicate()
        assert process.returncode not in (0, None), output
        assert "Traceback" not in output, output
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        return line

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro`; return the stages that did anything, in order."""
        lines = [line for line in self.run("dvc", "repro", *arguments).splitlines() if not line.endswith("didn't change, skipping")]
        return [stage[1] for line in lines if (stage := re.match(r"(?:Running stage|Stage) '(?:data/dvc\.yaml:)?([^']+)'", line))]

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def runs(self) -> list[Run]:
        """Every run of the store, parents and children, the newest first; none where there is no store."""
        if not (self.root / "mlflow.db").exists():
            return []
        client = self.client
        experiment = client.get_experiment_by_name("ser")
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id], max_results=1000))

    def opened(self, output: str) -> Run:
        """The parent whose address a command printed at its end."""
        (run_id,) = [line.rpartition("/")[2].partition("?")[0] for line in output.splitlines() if line.startswith("open in the MLflow UI")]
        return self.client.get_run(run_id)

    def children_of(self, parent: Run) -> list[Run]:
        """The trainings of a run in the order of their names."""
        runs = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        return sorted((run for run in runs if "training" in run.data.tags), key=lambda run: run.data.tags["training"])


def mlflow_environment(root: Path = ROOT, environment: Path = ENVIRONMENT) -> Path:
    """Where `mlflow run` looks for the environment of a project; where nothing is, it starts to build one."""
    specified = _PythonEnv.from_yaml(root / "python_env.yaml")
    with contextlib.chdir(root):
        return environment / "mlflow-envs" / _get_virtualenv_name(specified, root)


def mlflow_run(*entry_point: str, **parameters: str) -> Sequence[str]:
    """Word `mlflow run . -P name=value …`."""
    return ["mlflow", "run", ".", *entry_point, *(word for name, value in parameters.items() for word in ("-P", f"{name}={value}"))]


def train(**parameters: str) -> Sequence[str]:
    """Word the same experiment without MLflow around it."""
    return [sys.executable, "-m", "pipelines.train", *words_of(parameters)]


def words_of(parameters: Mapping[str, str]) -> list[str]:
    """Word parameters for a module's command line."""
    return [word for name, value in parameters.items() for word in (f"--{name}", value)]


def parents_of(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def content_of(project: Project, parent: Run) -> dict[str, dict[str, object]]:
    """Every metric of an experiment's runs at every step, but for times, and every predicted clip, by what the run is of."""
    client, content = project.client, dict[str, dict[str, object]]()
    runs = [run for run in project.runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    for name, run in [*((run.data.tags.get("training", run.info.run_name), run) for run in runs), ("parent", parent)]:
        run_id = run.info.run_id
        lasting = [key for key in run.data.metrics if "seconds" not in key and not key.startswith("system/")]
        found = {key: [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)] for key in lasting}
        tables = [file.path for file in client.list_artifacts(run_id, "predictions")]
        content[name] = found | {path: pd.read_parquet(client.download_artifacts(run_id, path)).to_csv() for path in tables}
    return {name: found for name, found in content.items() if found}  # not the run that `mlflow run` opened for a resume


def metrics_of(run: Run, beginning: str = "test/") -> Mapping[str, float]:
    """The metrics that are results: without what depends on the machine and the hour."""
    return {name: value for name, value in run.data.metrics.items() if name.startswith(beginning)}
