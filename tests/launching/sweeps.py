"""Sweeps in processes of their own, in a project of one corpus of tones, and everything that study and store hold of them."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend

from ser_mlops.commands import run_command
from ser_mlops.experiments.study import TrialState
from ser_mlops.experiments.study_storage import open_journal
from ser_mlops.launching.sweep_job import conduct_sweep
from ser_mlops.tracking.store import open_store
from tests.experiments.builders import sweep_of
from tests.processes import Command
from tests.tracking.builders import content_of_experiment

DRAWN = {"drawing__figures": "png"}
"""Sweeps draw nothing here unless they are told to: five figures take longer than six trials."""


@dataclass(frozen=True)
class JournalSignal:
    """A signal that a sweep sends itself once its journal has so many lines: however slow the machine is, it is at work then."""

    number: signal.Signals
    line: int

    def arm(self, journal: Path) -> None:
        append, is_sent = JournalFileBackend.append_logs, threading.Event()

        def append_and_signal(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            append(backend, logs)
            if num_lines(journal) >= self.line and not is_sent.is_set():
                is_sent.set()
                os.kill(os.getpid(), self.number)

        JournalFileBackend.append_logs = append_and_signal  # type: ignore[method-assign]


def num_lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def run_in(folder: Path, given: Mapping[str, str], disturbance: JournalSignal | None) -> None:
    """Run a sweep in a folder, as a command does."""
    os.chdir(folder)
    if disturbance is not None:
        disturbance.arm(Lab(folder).journal)
    run_command(lambda: conduct_sweep(sweep_of(**given)))


def copy_of(furnished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(furnished, folder))


@dataclass
class Lab:
    """A furnished folder with a store of its own."""

    folder: Path

    def start(self, disturbance: JournalSignal | None = None, **given: str) -> Command:
        """Start a sweep in a process of its own."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        return Command.start(log, run_in, self.folder, given, disturbance)

    @property
    def journal(self) -> Path:
        return self.folder / "studies/s.journal"

    def kill_at(self, line: int, **given: str) -> None:
        """Run a sweep that dies of SIGKILL once the journal has so many lines."""
        self.start(JournalSignal(signal.SIGKILL, line), **given).finish(-signal.SIGKILL)

    def study(self, storage: str | None = None) -> optuna.Study:
        """Open the study; of a database no connection stays open, as tests that wait for something open it many times."""
        not_pooled = {"poolclass": sqlalchemy.pool.NullPool}
        opened = open_journal(self.journal) if storage is None else RDBStorage(storage, engine_kwargs=not_pooled)
        return optuna.load_study(study_name="s", storage=opened)

    def history(self, storage: str | None = None) -> dict:
        """Everything that study and store hold, but for times and what is drawn of them."""
        study = self.study(storage)
        client = open_store()
        runs = content_of_experiment(client, study.user_attrs["parent"])
        for run in runs.values():
            run["metrics"] = {name: points for name, points in run["metrics"].items() if "seconds" not in name}
            run["tags"] = {name: re.sub("%22|[0-9a-f]{32}", "", text) for name, text in run["tags"].items()}
            run["artifacts"] = {
                name: name.endswith((".png", "trials.csv", "history.csv", "end.txt", ".md")) or content
                for name, content in run["artifacts"].items()
            }
        return {
            "trials": [
                (
                    trial.number,
                    trial.state,
                    trial.value if trial.state == TrialState.COMPLETE else None,
                    trial.params,
                    trial.intermediate_values,
                )
                for trial in study.trials
            ],
            "runs": runs,
        }


def children(lab: Lab, beginning: str) -> dict[str, mlflow.entities.Run]:
    client = open_store()
    runs = client.search_runs([client.get_experiment_by_name("ser").experiment_id], max_results=1000)
    return {key: run for run in runs if (key := run.data.tags.get("training")) and key.startswith(beginning)}


def parent_of(lab: Lab) -> mlflow.entities.Run:
    return open_store().get_run(lab.study().user_attrs["parent"])
