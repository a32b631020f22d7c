"""What is written of one run: metrics, params, tags, datasets, artifacts, models and its status, every one a record in the outbox."""

import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from ser_mlops.tracking.outbox import Outbox
from ser_mlops.tracking.store import OPEN_STATUSES

MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000
ARTIFACTS = "artifacts"
"""Folder of an outbox that holds files on their way."""
SYSTEM = "system/"
"""Prefix of the metrics of the machine."""


@dataclass(frozen=True)
class Stored:
    """What the store already holds of a run that is resumed."""

    points: frozenset[tuple[str, int]] = frozenset()
    """Metrics and steps, without the metrics of the machine."""
    params: frozenset[str] = frozenset()
    num_samples: int = 0
    """Steps of the metrics of the machine."""


def read_stored(client: MlflowClient, run: Run) -> Stored:
    """Return what the store holds of a run that is resumed."""
    histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics if not key.startswith(SYSTEM)}
    sampled = [key for key in run.data.metrics if key.startswith(SYSTEM)][:1]
    return Stored(
        frozenset((key, point.step) for key, history in histories.items() for point in history),
        frozenset(run.data.params),
        max((point.step + 1 for key in sampled for point in client.get_metric_history(run.info.run_id, key)), default=0),
    )


@dataclass
class RunLog:
    """What is written of one run; every call only appends to the outbox."""

    run_id: str
    status: str
    _outbox: Outbox
    stored: Stored = field(default_factory=Stored)

    def metrics(self, values: Mapping[str, float], step: int = 0, timestamp: int | None = None) -> None:
        """Log metrics at a step, `timestamp` in ms since 1970. A step that the store held when the run was opened stays as it is."""
        now = timestamp or _now_ms()
        items = [[key, float(value), now, step] for key, value in values.items() if (key, step) not in self.stored.points]
        if items:
            self._outbox.append({"run": self.run_id, "op": "metrics", "items": items})

    def params(self, values: Mapping[str, object]) -> None:
        """Log params, cut at the length that MLflow accepts. Those that the run had when it was opened stay as they are."""
        items = {key: str(value)[:MAX_PARAM_CHARACTERS] for key, value in values.items() if key not in self.stored.params}
        if items:
            self._outbox.append({"run": self.run_id, "op": "params", "items": items})

    def tags(self, values: Mapping[str, object]) -> None:
        """Log tags, cut at the length that MLflow accepts; a tag that is there is replaced."""
        items = {key: str(value)[:MAX_TAG_CHARACTERS] for key, value in values.items()}
        self._outbox.append({"run": self.run_id, "op": "tags", "items": items})

    def describe(self, markdown: str) -> None:
        """Set the run's description."""
        self.tags({MLFLOW_RUN_NOTE: markdown})

    def dataset(self, name: str, digest: str, source: str, context: str, profile: str, contents: tuple[str, str] = ("", "")) -> None:
        """Log a dataset input, `name (context)`; the digest is the DVC hash of the frame.

        MLflow keeps one input per run, name and digest, and one profile per experiment, name and digest. So the context is in the name,
        and the profile, which differs from run to run, is a tag of the input. `contents` are schema and profile of the whole frame, as
        MLflow's Datasets panel shows them.
        """
        schema, whole = contents
        item = {"name": name, "digest": digest, "source": source, "context": context, "profile": profile, "schema": schema, "whole": whole}
        self._outbox.append({"run": self.run_id, "op": "dataset", "item": item})

    @contextmanager
    def artifact(self, name: str, folder: str = "") -> Iterator[Path]:
        """Yield a path to write an artifact (a file or a folder) to; it is sent when the block ends."""
        path = self._stage(name)
        yield path
        self._outbox.append({"run": self.run_id, "op": "artifact", "path": str(path), "folder": folder})

    @contextmanager
    def model(self, name: str) -> Iterator[Path]:
        """Yield a path to write an MLflow model (a folder) to; it becomes a logged model of the run, with its test metrics.

        Characters that MLflow does not accept in the name of a model become spaces.
        """
        name = re.sub(r"[/:.%\"']+", " ", name)
        path = self._stage("model")
        yield path
        self._outbox.append({"run": self.run_id, "op": "model", "path": str(path), "name": name})

    def _stage(self, name: str) -> Path:
        staging = self._outbox.folder / ARTIFACTS
        staging.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=staging)) / name

    def text(self, name: str, text: str, folder: str = "") -> None:
        with self.artifact(name, folder) as path:
            path.write_text(text, encoding="utf-8")

    def begin(self) -> None:
        """Mark the run RUNNING; clear the description of how it ended, if it had ended."""
        if self.status not in OPEN_STATUSES:
            self.describe("")
        self.status = "RUNNING"
        self._outbox.append({"run": self.run_id, "op": "status", "status": self.status})

    def postpone(self, reason: str) -> None:
        """Mark the run SCHEDULED again: another process will resume it."""
        self.describe(reason)
        self.status = "SCHEDULED"
        self._outbox.append({"run": self.run_id, "op": "status", "status": self.status})

    def end(self, status: str) -> None:
        """Mark the run FINISHED, FAILED or KILLED, now."""
        self.status = status
        self._outbox.append({"run": self.run_id, "op": "status", "status": status, "end_ms": _now_ms()})


def _now_ms() -> int:
    return int(time.time() * 1000)
