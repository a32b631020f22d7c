"""A cluster beside a project, and everything that two stores have of the same experiment."""

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run

from ser_mlops.experiments.sweep_recording import END_FILE
from ser_mlops.settings.reading import flatten_settings, parse_settings
from tests.project import Project, metrics_of
from tests.servers import SlurmCluster
from tests.tracking.builders import content_of_experiment, copy_store, in_store, models_of

WHERE_AND_WHEN = ("host", "gpu", "threads", "job", "nodes", "log", "processes", "study", "commit", "dirty")
"""Tags that say where a run was computed: commands from the checkout of these tests, jobs from the copy."""
HOW = ("sweep.study", "sweep.workers")
"""Settings that no number of a sweep depends on."""
TIMED = ("seconds", "seconds_in_all", "date", "duration")
"""Columns of tables, and metrics, that time alone decides."""


@dataclass
class Site:
    """A project on shared storage, a Slurm cluster and a tracking store."""

    project: Project
    cluster: SlurmCluster
    uri: str

    def with_file(self, folder: Path) -> "Site":
        """The same project and cluster with a store without runs: a file in a folder, which is all that this machine opens."""
        assert self.project.store is not None
        copy_store(self.project.store, folder)
        return replace(self, uri=f"sqlite:///{folder}/mlflow.db")

    @property
    def variables(self) -> dict[str, str]:
        return {**self.cluster.variables, "MLFLOW_TRACKING_URI": self.uri}

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.uri)

    def run(self, module: str, **parameters: str) -> str:
        """Run a command that must succeed in this process; its jobs have processes of their own. Return what it printed."""
        code, printed, told = self.project.call(module, parameters, self.variables)
        assert code == 0, printed + told
        return printed

    def parent(self, output: str) -> Run:
        """The experiment that a command's last line names."""
        line = [line for line in output.splitlines() if line.startswith("open in the MLflow UI")][-1]
        return self.client.get_run(line.rpartition("/")[2].partition("?")[0])

    def runs(self) -> list[Run]:
        experiment = self.client.get_experiment_by_name("ser")
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id], max_results=1000))

    def children_of(self, parent: Run) -> list[Run]:
        runs = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and "training" in run.data.tags]
        return sorted(runs, key=lambda run: run.data.tags["training"])

    def numbers(self, parent: Run) -> list[Mapping[str, object]]:
        """Every result of an experiment and of its rounds, and every epoch's metrics but for seconds."""
        return [metrics_of(parent), *({**metrics_of(run), **self.curves(run)} for run in self.children_of(parent))]

    def curves(self, run: Run) -> Mapping[str, object]:
        return {name: self.curve(run, name) for name in ("train/loss", "val/uar", "val/loss", "lr")}

    def curve(self, run: Run, name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self.client.get_metric_history(run.info.run_id, name)]

    def content(self, parent: Run) -> dict[str, dict]:
        """Everything that the store has of an experiment, with files by hash, but for hosts, jobs, ids, times and how it was launched."""
        with in_store(self.uri, self.project.root):
            runs = content_of_experiment(self.client, parent.info.run_id)
            for run in self.children_of(parent):
                runs[run.data.tags["training"]]["weights"] = [_weights(model.model_uri) for model in models_of(self.client, run)]
        for run in runs.values():
            run["name"] = _without_ids(run["name"])
            run["metrics"] = {name: points for name, points in run["metrics"].items() if name.rpartition("/")[2] not in TIMED}
            run["params"] = {name: value for name, value in run["params"].items() if name not in HOW}
            run["tags"] = {name: _without_ids(text) for name, text in run["tags"].items() if name not in WHERE_AND_WHEN}
            run["artifacts"] = {name: _digest(name, content) for name, content in run["artifacts"].items()}
        return runs


def differences(one: Mapping[str, dict], other: Mapping[str, dict]) -> dict[tuple[str, str], tuple[object, object]]:
    """What two stores do not have alike, by run and kind, and of metrics, tags and files by name."""
    found: dict[tuple[str, str], tuple[object, object]] = {}
    for run in sorted({*one, *other}):
        for kind in sorted({*one.get(run, {}), *other.get(run, {})}):
            values = one.get(run, {}).get(kind), other.get(run, {}).get(kind)
            if isinstance(values[0], dict) and isinstance(values[1], dict):
                pairs = {f"{kind} {name}": (values[0].get(name), values[1].get(name)) for name in {*values[0], *values[1]}}
            else:
                pairs = {kind: values}
            found |= {(run, name): pair for name, pair in pairs.items() if pair[0] != pair[1]}
    return found


def _weights(model_uri: str) -> list[str]:
    folder = Path(mlflow.artifacts.download_artifacts(model_uri))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.safetensors"))]


def _without_ids(text: str) -> str:
    return re.sub(r"%2[27]|[0-9a-f]{32}", "", text)


def _digest(name: str, content: bytes) -> str:
    """The hash of a file; of a table without the columns that time decides."""
    if name == END_FILE:
        content = re.sub(rb" +\S+$", b"", content, flags=re.MULTILINE)  # the last column of its table: seconds
    if name.endswith(".yaml"):
        settings = flatten_settings(parse_settings(content.decode(), name, is_resolved=True))
        content = repr({key: value for key, value in settings.items() if key not in HOW}).encode()
    if name.endswith(".csv"):
        table = pd.read_csv(io.BytesIO(content), dtype=str)
        content = table.drop(columns=[column for column in table if column in TIMED]).to_csv().encode()
    return hashlib.sha256(content).hexdigest()
