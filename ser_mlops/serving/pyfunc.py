"""What MLflow serves: a model from code, in the model folder beside the weights; base64 audio in, emotions with probabilities out.

MLflow copies this file to the top of every logged model, with the package under `code/`, and runs it from there, so a model keeps
the code that it was evaluated with.
"""

import io
import logging
import os
import shutil
import tempfile
import threading
import wave
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import OTHER_CONTENT, BadAudio
from ser_mlops.data.audio.format import SAMPLE_RATE
from ser_mlops.errors import DataError
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.vectors import EGEMAPS
from ser_mlops.serving.predictor import FOLDER_KEY, Model, Predictor, folder_of, members_of, weights_in

logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it reports that the example fits the signature

COLUMN = "audio"
PACKAGES = ("huggingface_hub", "mlflow", "numpy", "pandas", "safetensors", "soundfile", "soxr", "torch", "transformers")
"""What this file needs, directly and through the package."""
BASELINE_PACKAGES = ("scikit-learn", "scipy", "skops", "threadpoolctl")
VECTOR_PACKAGES = {"functionals": ("torchaudio",), EGEMAPS: ("opensmile",)}
"""What the baseline, and each kind of vector, needs besides."""
BATCH_SIZE = 4
"""Windows per batch: a server runs out of memory before it runs out of time."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_clips: int
    max_seconds: float
    max_megabytes: float

    def decode(self, files: Sequence[object], min_seconds: float) -> list[np.ndarray]:
        """Decode the audio files of one request.

        Raises:
            MlflowException: there is none, there are too many, or one cannot be used; the server answers with 400.
        """
        if not 1 <= len(files) <= self.max_clips:
            raise _refusal(f"{len(files)} clips in one request, expected 1 to {self.max_clips}")
        return [self._decode_one(clip, file, min_seconds) for clip, file in enumerate(files)]

    def _decode_one(self, clip: int, file: object, min_seconds: float) -> np.ndarray:
        try:
            content = b64decode(file, validate=True) if isinstance(file, str) else file  # MLflow decodes JSON, but not CSV
        except ValueError as error:
            raise _refusal(f"clip {clip} is not base64: {error}") from error
        if not isinstance(content, bytes):
            raise _refusal(f"clip {clip} is of type {type(file).__name__}, expected an audio file in base64")
        try:
            return self.decode_one(content, min_seconds)
        except DataError as error:
            is_other = isinstance(error, BadAudio) and error.defect in OTHER_CONTENT
            expected = " (expected an audio file in base64)" if is_other else ""
            raise _refusal(f"clip {clip} cannot be used: {error}{expected}") from error

    def decode_one(self, content: bytes, min_seconds: float) -> np.ndarray:
        """Decode one audio file.

        Raises:
            DataError: it is too large, or cannot be used.
        """
        if len(content) > self.max_megabytes * 1e6:
            raise DataError(f"too large: {len(content):,} bytes, expected at most {self.max_megabytes:g} MB")
        return decode(content, min_seconds, self.max_seconds).samples


def _refusal(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


class EmotionModel(PythonModel):
    """The pyfunc: from a table with one column of audio files to the rows of `Predictor.predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        self._limits = Limits(**context.model_config)
        self._predictor = Predictor.open(weights_in(Path(__file__).parent), batch_size=BATCH_SIZE)
        self._turn = threading.Lock()
        if scoring_server._SERVER_MODEL_PATH in os.environ:
            _answer_unreadable_requests()

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify the clips of a request; requests take turns, so that memory does not grow with their number."""
        with self._turn:
            return self._predictor.predict(self._limits.decode(model_input[COLUMN].tolist(), self._predictor.terms.min_seconds))


def _answer_unreadable_requests() -> None:
    """Make MLflow's server answer 400, not 500, to requests that it cannot read and that never reach the model.

    The answer is one line without the request, which MLflow would quote. Known cases: JSON nested too deep, numbers of thousands of digits,
    column names that are not text, and a missing content type.
    """
    invocations: Any = scoring_server.invocations

    def answered(data: Any, content_type: str | None, model: Any, input_schema: Any) -> Any:
        try:
            return invocations(data, content_type or "none", model, input_schema)
        except MlflowException as error:
            error.message = _line_of(error.message)
            raise
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise MlflowException(f"the request cannot be read: {str(error)[:200]}", error_code=BAD_REQUEST) from error

    scoring_server.invocations = answered


def _line_of(message: str) -> str:
    r"""Return MLflow's message about a request in one line, without the request that it quotes.

    >>> _line_of("Failed to predict data '  audio\n0 b'RIFF''. \nError: clip 0 cannot be used: empty file")
    'clip 0 cannot be used: empty file'
    """
    said = message.rpartition("\nError: ")[2]
    if said.startswith("Failed to enforce schema"):
        said = said.rpartition("Error: ")[2]
    return " ".join(said.split())


def save_pyfunc(folder: Path, limits: Mapping[str, float], model: Model) -> None:
    """Make a folder an MLflow model: write MLmodel, requirements, this file and the package; `save_model_folder` adds the model."""
    shutil.copytree(_saved_pyfunc(tuple(limits.items()), _packages_of(model), folder_of(model), model.emotions).name, folder)


def _packages_of(model: Model) -> tuple[str, ...]:
    first = members_of(model)[0]
    if isinstance(first, EmotionClassifier):
        return PACKAGES
    return (*PACKAGES, *BASELINE_PACKAGES, *VECTOR_PACKAGES[first.features])


@cache
def _saved_pyfunc(
    limits: tuple[tuple[str, float], ...], packages: tuple[str, ...], model_folder: str, emotions: tuple[str, ...]
) -> "tempfile.TemporaryDirectory[str]":
    """Save the parts of a model that are the same for every round, once per process: MLflow checks requirements for 0.8 s."""
    saved = tempfile.TemporaryDirectory()
    mlflow.pyfunc.save_model(
        saved.name,
        python_model=__file__,
        code_paths=[str(Path(__file__).parents[1])],
        signature=_signature(emotions),
        pip_requirements=[f"{package}=={version(package)}" for package in packages],
        model_config=dict(limits),
        metadata={FOLDER_KEY: model_folder},
        input_example=pd.DataFrame({COLUMN: [_example()]}),
    )
    return saved


def _signature(emotions: Sequence[str]) -> ModelSignature:
    """Return the columns of a request and of its answer."""
    answer: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "clip"),
        ColSpec(DataType.double, "start"),
        ColSpec(DataType.double, "end"),
        ColSpec(DataType.string, "emotion"),
        *(ColSpec(DataType.double, emotion) for emotion in emotions),
    ]
    return ModelSignature(inputs=Schema([ColSpec(DataType.binary, COLUMN)]), outputs=Schema(answer))


def _example() -> bytes:
    """Return a wav file: a tone of a tenth of a second, as the example of a request that MLflow keeps with the model."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((8000 * np.sin(np.arange(SAMPLE_RATE // 10) / 10)).astype("<i2").tobytes())
    return content.getvalue()


set_model(EmotionModel())
