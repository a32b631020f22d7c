"""Opens the encoder of a name or of a run, and gives a notebook its embeddings of clips and of recordings."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from ser_mlops.data.audio.arrays import decode_recording
from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.data.folders import AUDIO
from ser_mlops.errors import DataError, SettingsError
from ser_mlops.models.build import load_classifier, open_classifier
from ser_mlops.models.vectors import BASELINE_FACTS, VECTORS
from ser_mlops.serving.champion import fetched
from ser_mlops.serving.predictor import refuse_ensemble
from ser_mlops.settings.reading import read_settings
from ser_mlops.settings.training import BASELINE
from ser_mlops.training.batching import Clips
from ser_mlops.training.embeddings import LayerSource, every_layer, open_layers, outputs_of, outputs_of_waves, shape_of
from ser_mlops.training.evaluate import refuse_unheard
from ser_mlops.training.features import FrozenPart
from ser_mlops.training.vectors import VectorSource

Recording: TypeAlias = np.ndarray | str | Path
"""Samples, or an audio file."""
OF_RUNS = re.compile(r"[0-9a-f]{32}|models:/.+")
"""Names of trained models: the id of a run, or a URI of MLflow's registry."""


def open_encoder(model: str, run_id: str | None, seed: int) -> LayerSource:
    """Open an encoder: an alias, a hub id, a local folder or the name of vectors; or, with `run_id`, that of a run in its place.

    Raises:
        ModelError: there is no such model.
        TrackingError: there is no such run.
    """
    import torch

    with _model_folder(run_id) as folder:
        kind = vectors_named_by(model, folder)
        if kind is not None:
            return VectorSource(kind)
        classifier = load_classifier(model, seed=seed) if folder is None else open_classifier(folder)
    return every_layer(classifier, "cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _model_folder(run_id: str | None) -> Iterator[Path | None]:
    """Yield the folder of a run's model; None without a run."""
    if run_id is None:
        yield None
        return
    with fetched(run_id) as folder:
        refuse_ensemble(folder, run_id, "layers are those of one model")
        yield folder


def vectors_named_by(model: str, folder: Path | None) -> str | None:
    """Return the kind of vectors where the model is a baseline, named as such or by its vectors; None for a network."""
    if folder is not None:
        if not (folder / BASELINE_FACTS).is_file():
            return None
        from ser_mlops.models.baseline import open_baseline

        return open_baseline(folder).features
    return "functionals" if model == BASELINE else model if model in VECTORS else None


def refuse_unheard_by(source: LayerSource, clips: Clips, choices: str) -> None:
    """Raise TrainingError where an encoder would hear the beginning of a clip alone (Whisper: 30 s); there are other `choices`."""
    if isinstance(source, FrozenPart):
        refuse_unheard(source.classifier, clips, advice=f"choose other {choices} or another model")


def check_layers(layers: Sequence[int], num_layers: int) -> None:
    """Raise SettingsError where there is no such layer; -1 is the last one."""
    for layer in layers:
        if not -num_layers <= layer < num_layers:
            raise SettingsError(f"layer={layer} is not accepted, the model has the layers 0 to {num_layers - 1}")


def embeddings(
    recordings: pd.DataFrame | Recording | Sequence[Recording],
    model: str,
    *,
    layer: int | Sequence[int] | None = None,
    rate: int | None = None,
) -> np.ndarray:
    """Return what the layers of an encoder give for clips or recordings: the mean over the real steps of each, float32.

    Args:
        recordings: clips, as rows of a frame: outputs of the whole corpus are computed once and cached. Or recordings, of which nothing is
            cached: one, or a list of them, each an audio file or samples (or samples x channels) of int16 or of floats in [-1, 1].
        model: an alias, a hub id or a local folder of weights, or `baseline`; or a trained model: the id of a round or of an experiment
            (then its best round), or models:/NAME@champion.
        layer: 0 is the input of the first layer, K the output of the Kth, -1 the last; several, or by default all.
        rate: of samples, in Hz.

    Returns:
        clips x numbers for one layer, else clips x layers x numbers, in the order given; one recording is one clip.

    Raises:
        DataError: there are none, one cannot be used, samples have no rate or another shape or type, or a clip is not in its corpus's
            audio file.
        ModelError: there is no such model.
        SettingsError: it has no such layer.
        TrackingError: there is no such run.
        TrainingError: the model would hear the beginning of a clip alone, or its outputs depend on padding.
    """
    waves = [] if isinstance(recordings, pd.DataFrame) else _decoded(recordings, rate)
    if not (len(recordings) if isinstance(recordings, pd.DataFrame) else waves):
        raise DataError("no clips or recordings to embed")
    is_trained = OF_RUNS.fullmatch(model) is not None
    source = open_encoder(model, model if is_trained else None, seed=0)  # of the head, which takes no part
    layers = slice(None) if layer is None else layer
    check_layers([] if isinstance(layers, slice) else [layers] if isinstance(layers, int) else layers, shape_of(source)[0])
    if isinstance(recordings, pd.DataFrame):
        clips = Clips.from_frame(recordings, AUDIO)
        refuse_unheard_by(source, clips, "clips")
        return outputs_of(open_layers(source, clips.audio, Path(read_settings().paths.cache)), clips, layers)
    refuse_unheard_by(source, _as_clips(waves), "recordings")
    return outputs_of_waves(source, waves, layers)


def _decoded(recordings: Recording | Sequence[Recording], rate: int | None) -> list[np.ndarray]:
    """Return one recording or several as int16, mono, 16 kHz."""
    several = [recordings] if isinstance(recordings, np.ndarray | str | Path) else recordings
    waves = []
    for number, recording in enumerate(several):
        try:
            waves.append(decode_recording(recording, rate).samples)
        except BadAudio as error:
            name = f"recording {number}" if isinstance(recording, np.ndarray) else str(recording)
            raise DataError(f"{name}: {error}") from error
    return waves


def _as_clips(waves: Sequence[np.ndarray]) -> Clips:
    """Return waves as clips that are in no file."""
    num_samples_N = np.array([len(wave) for wave in waves])
    zeros_N, names_N = np.zeros_like(num_samples_N), np.array([f"recording {number}" for number in range(len(waves))], dtype=object)
    return Clips(names_N, zeros_N, num_samples_N, zeros_N, names_N, names_N, audio={})
