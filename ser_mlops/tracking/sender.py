"""Sends the records of an outbox to MLflow, in groups that one request can hold."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from ser_mlops.errors import TrackingError
from ser_mlops.files import hand_over, remove, replacing
from ser_mlops.tracking.outbox import Record, Unreachable
from ser_mlops.tracking.store import end_run, is_outage, one_line


class Sender:
    """Sends the records of an outbox to MLflow; sending a record twice changes nothing.

    A run of which a record was refused ends as FAILED instead of FINISHED: something of it is missing for good.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._refusals: dict[str, str] = {}

    def deliver(self, records: Sequence[Record]) -> None:
        try:
            for (run_id, op), group in groupby(records, key=lambda record: (record["run"], record["op"])):
                getattr(self, f"_{op}")(run_id, list(group))
        except (MlflowException, OSError) as error:  # requests' exceptions are OSErrors
            if is_outage(error):
                raise Unreachable(str(error)) from error
            refusal = f"the tracking store refused a record: {one_line(error, 300)}"
            if len(records) == 1:  # more are sent again one by one
                self._refusals.setdefault(records[0]["run"], refusal)
            raise TrackingError(refusal) from error

    def _metrics(self, run_id: str, records: list[Record]) -> None:
        metrics = [Metric(key, value, timestamp, step) for record in records for key, value, timestamp, step in record["items"]]
        self._client.log_batch(run_id, metrics=metrics)

    def _params(self, run_id: str, records: list[Record]) -> None:
        self._client.log_batch(run_id, params=[Param(key, value) for record in records for key, value in record["items"].items()])

    def _tags(self, run_id: str, records: list[Record]) -> None:
        self._client.log_batch(run_id, tags=[RunTag(key, value) for record in records for key, value in record["items"].items()])

    def _dataset(self, run_id: str, records: list[Record]) -> None:
        inputs = [
            DatasetInput(
                Dataset(
                    f"{item['name']} ({item['context']})",
                    item["digest"],
                    "dvc",
                    item["source"],
                    item["schema"] or None,
                    item["whole"] or None,
                ),
                [InputTag(MLFLOW_DATASET_CONTEXT, item["context"]), InputTag("profile", item["profile"])],
            )
            for item in (record["item"] for record in records)
        ]
        self._client.log_inputs(run_id, inputs)

    def _artifact(self, run_id: str, records: list[Record]) -> None:
        for record in records:
            path, folder = Path(record["path"]), record["folder"] or None
            if not path.exists():
                continue  # it arrived, but the process died before it could note so
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), f"{folder}/{path.name}" if folder else path.name)
            else:
                self._client.log_artifact(run_id, str(path), folder)
            remove(path.parent)

    def _model(self, run_id: str, records: list[Record]) -> None:
        for record in records:
            path = Path(record["path"])
            if path.exists():  # else it arrived, but the process died before it could note so
                self.log_model(run_id, path, record["name"])
                remove(path.parent)

    def log_model(self, run_id: str, path: Path, name: str, scores: str = "") -> str:
        """Make a folder a logged model of a run, with its test scores (or those whose names end in `scores`); return its id.

        A run has one model of each name, so sending it twice makes no second one.
        """
        run = self._client.get_run(run_id)
        found = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}' AND name = '{name}'")
        model = found[0] if found else self._client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params)
        keys = [key for key in run.data.metrics if key.startswith("test/") and key.endswith(scores)]
        points = [point for key in keys for point in self._client.get_metric_history(run_id, key)]
        linked = [Metric(point.key, point.value, point.timestamp, point.step, model_id=model.model_id, run_id=run_id) for point in points]
        self._client.log_batch(run_id, metrics=linked)
        description = Model.load(path)
        description.model_id = description.model_uuid = model.model_id
        description.run_id, description.artifact_path = run_id, model.artifact_location
        description.model_size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        with replacing(path / MLMODEL_FILE_NAME) as aside:
            description.save(aside)
        store = get_artifact_repository(model.artifact_location)
        if isinstance(store, LocalArtifactRepository):
            hand_over(path, Path(store.artifact_dir))
        else:
            self._client.log_model_artifacts(model.model_id, str(path))
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        outputs = run.outputs.model_outputs if run.outputs else []
        if model.model_id not in [output.model_id for output in outputs]:  # last, as a run's outputs are whole models
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def _status(self, run_id: str, records: list[Record]) -> None:
        record: Mapping[str, Any] = records[-1]
        if record["status"] == "FINISHED" and run_id in self._refusals:
            end_run(self._client, run_id, "FAILED", f"Failed: {self._refusals[run_id]}")
        elif "end_ms" in record:
            self._client.set_terminated(run_id, record["status"], record["end_ms"])
        else:
            self._client.update_run(run_id, status=record["status"])
