"""Classifies recordings with a trained model, for files, requests and the page alike.

A *model folder* is a plain transformers folder, or that of a baseline, with a contract beside the weights, `contract.json`: everything
that is done to a recording before the model sees it; or the folder of an ensemble, which holds such a folder for each of its rounds
(`round_0`, `round_1`, …). A recording no longer than the contract's window is classified whole; a longer one in
the fewest equal windows that are not longer, as an evaluation with `evaluate_long: windows` cuts it, each like a clip of its own.

Shape letters: W windows, B batch, E emotions, M models of an ensemble.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import torch

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.data.audio.format import AUDIO_SUFFIXES, SAMPLE_RATE
from ser_mlops.data.corpora.base import walk
from ser_mlops.data.progress import progress
from ser_mlops.errors import DataError, ModelError, SettingsError, one_of
from ser_mlops.files import replacing, write_text
from ser_mlops.models.build import open_classifier
from ser_mlops.models.classifier import EmotionClassifier
from ser_mlops.models.ensemble import Ensemble, share_encoder
from ser_mlops.models.vectors import BASELINE_FACTS, VECTORS, vectors_named
from ser_mlops.training.batching import collate, plan_evaluation, window_bounds

if TYPE_CHECKING:
    from ser_mlops.models.baseline import Baseline

CONTRACT = "contract.json"
NETWORK_FOLDER, BASELINE_FOLDER, ENSEMBLE_FOLDER = MODEL_FOLDERS = ("transformers", "baseline", "ensemble")
"""Names of the model folder in a logged model."""
FOLDER_KEY = "model_folder"
"""Key, in MLmodel's metadata, of the name of the model folder."""
ROUND_FOLDER = "round_"
"""How the folders of its rounds begin in that of an ensemble."""
ENSEMBLE_FACTS = "ensemble.json"
"""File of an ensemble that says whose rounds it is made of."""
CARD = "README.md"
"""The model card in a model folder."""
FORMATS = (".csv", ".parquet")
CHUNK_FILES, CHUNK_SECONDS = 256, 900.0
"""Files are decoded, sorted by length and classified in chunks, so that memory holds at most so many of them and about so much audio."""


@dataclass(frozen=True)
class Terms:
    """The part of a contract that settings decided."""

    window_seconds: float
    """The longest stretch that is classified in one piece."""
    min_seconds: float
    """Shorter clips were left out of training and evaluation, and are refused."""
    note: str
    """What everyone who uses the model must know, for example that it was trained on synthetic data."""
    obstacle: str = ""
    """Why the model cannot classify a recording by itself; empty if it can."""
    joined: Mapping[str, str] = field(default_factory=dict)
    """Emotions that it was taught to call by another name: fear -> surprise."""


SingleModel: TypeAlias = "EmotionClassifier | Baseline"
Model: TypeAlias = "SingleModel | Ensemble"


def preprocessing_of(model: SingleModel) -> dict[str, object]:
    """Return what this version of the code does to a recording, in the form of a contract."""
    decoded: dict[str, object] = {
        "emotions": list(model.emotions),
        "sample_rate": SAMPLE_RATE,
        "channels": "mean of all",
        "resampling": "soxr HQ",
        "samples": "int16 / 32768",
    }
    if not isinstance(model, EmotionClassifier):
        return decoded | {"vectors": f"{model.features}, version {VECTORS[model.features].version}"}
    return decoded | {
        "normalisation": model.family.normalisation(model.extractor),
        "attention_mask": model.attention_mask,
    }


def save_model_folder(model: SingleModel, folder: Path, terms: Terms) -> None:
    """Write a model (a network as plain transformers opens it, the baseline without pickle), and its contract."""
    model.save(folder)
    write_text(folder / CONTRACT, json.dumps(preprocessing_of(model) | asdict(terms), indent=2) + "\n")


def folder_of(model: Model) -> str:
    """Return the name of the model folder in a logged model."""
    if isinstance(model, Ensemble):
        return ENSEMBLE_FOLDER
    return NETWORK_FOLDER if isinstance(model, EmotionClassifier) else BASELINE_FOLDER


def members_of(model: Model) -> "Sequence[SingleModel]":
    """Return the models of an ensemble; another model alone."""
    return model.members if isinstance(model, Ensemble) else (model,)


def weights_in(place: Path) -> Path:
    """Return the model folder in a logged model; another folder as it is."""
    return next((place / name for name in MODEL_FOLDERS if (place / name).is_dir()), place)


def rounds_in(folder: Path) -> list[Path]:
    """Return the model folders of an ensemble's rounds; none where a model folder is of a single model."""
    return sorted(folder.glob(f"{ROUND_FOLDER}*"), key=lambda each: int(each.name.removeprefix(ROUND_FOLDER)))


def refuse_ensemble(folder: Path, model_uri: str, why: str) -> None:
    """Raise ModelError where a model folder is that of an ensemble, naming its rounds."""
    if rounds_in(folder):
        runs = json.loads((folder / ENSEMBLE_FACTS).read_text(encoding="utf-8"))["rounds"]
        raise ModelError(
            f"{model_uri} is an ensemble of {len(runs)} rounds, and {why}: give the id of one of them: {', '.join(runs.values())}"
        )


def _open_model(folder: Path) -> SingleModel:
    if not (folder / BASELINE_FACTS).is_file():
        return open_classifier(folder)
    from ser_mlops.models.baseline import open_baseline  # which loads scikit-learn

    return open_baseline(folder)


class Predictor:
    """A model ready to classify waves that `decode` made."""

    def __init__(self, model: Model, terms: Terms, batch_size: int) -> None:
        self.model = model
        self.terms = terms
        self.max_samples = max(1, round(terms.window_seconds * SAMPLE_RATE))
        self.batch_size = batch_size
        self.probabilities_of: Callable[[Sequence[np.ndarray]], np.ndarray]
        networks, baselines = [], []
        for member in members_of(model):
            if isinstance(member, EmotionClassifier):
                networks.append(member)
            else:
                baselines.append(member)
        if networks:
            torch.backends.cudnn.allow_tf32 = False  # as in training
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            first = networks[0]
            self.batch_size = batch_size if first.attention_mask else 1  # without a mask padding would move predictions
            longest_s = first.family.max_seconds(first.config) or terms.window_seconds
            self.max_samples = min(self.max_samples, round(longest_s * SAMPLE_RATE))
            have_one_encoder = share_encoder(networks)  # before each gets buffers of its own on the device
            on_device = [network.to(device).eval() for network in networks]
            self.probabilities_of = partial(_probabilities_of_networks, on_device, device, have_one_encoder)
        else:
            self.probabilities_of = partial(_probabilities_of_baselines, baselines)

    @classmethod
    def open(cls, folder: Path, *, window_seconds: float | None = None, batch_size: int = 8) -> "Predictor":
        """Open a model folder; `window_seconds` replaces the contract's own.

        Raises:
            ModelError: the folder holds no trained model or no contract, or this version of the code treats recordings otherwise.
        """
        model: Model
        if rounds := rounds_in(folder):
            members, terms_of = zip(*map(_open_single, rounds), strict=True)
            model, terms = Ensemble.of(members), terms_of[0]
            if any(other != terms for other in terms_of):
                raise ModelError(f"{folder}: its rounds differ in their {CONTRACT}")
        else:
            model, terms = _open_single(folder)
        return cls(model, replace(terms, window_seconds=window_seconds or terms.window_seconds), batch_size)

    def predict(self, waves: Sequence[np.ndarray], each_batch: Callable[[float], object] = lambda seconds: None) -> pd.DataFrame:
        """Return one row per window: clip (position in `waves`), start and end in seconds, emotion, and a probability per emotion.

        `waves` are int16, mono, at 16 kHz. Windows are batched by length; `each_batch` is called with the seconds of audio of every batch.

        Raises:
            ModelError: a probability is not finite.
        """
        first_W, end_W, clip_W = window_bounds(np.array([len(wave) for wave in waves], dtype=np.int64), self.max_samples)
        emotions = self.model.emotions
        probabilities_WE = np.zeros((len(clip_W), len(emotions)))
        for batch in plan_evaluation(end_W - first_W, self.batch_size):
            pieces = [waves[clip_W[i]][first_W[i] : end_W[i]] for i in batch]
            probabilities_WE[batch] = self.probabilities_of(pieces)
            each_batch(sum(map(len, pieces)) / SAMPLE_RATE)
        if not np.isfinite(probabilities_WE).all():
            raise ModelError("the model's weights produce probabilities that are not finite")
        table = pd.DataFrame({"clip": clip_W, "start": first_W / SAMPLE_RATE, "end": end_W / SAMPLE_RATE})
        table["emotion"] = np.array(emotions, dtype=object)[probabilities_WE.argmax(axis=1)]
        return table.join(pd.DataFrame(probabilities_WE, columns=list(emotions)))


def _open_single(folder: Path) -> tuple[SingleModel, Terms]:
    """Open a model folder, checked against its contract, whose terms are returned beside the model."""
    model = _open_model(folder)
    contract = _read_contract(folder)
    for name, value in preprocessing_of(model).items():
        if contract.get(name) != value:
            raise ModelError(f"{folder / CONTRACT}: {name} is {contract.get(name)!r}, this version of ser_mlops has {value!r}")
    terms = Terms(**{each.name: contract[each.name] for each in fields(Terms) if each.name in contract})
    if terms.obstacle:
        raise ModelError(f"{folder}: {terms.obstacle}")
    return model, terms


@torch.inference_mode()
def _probabilities_of_networks(
    networks: Sequence[EmotionClassifier], device: torch.device, have_one_encoder: bool, pieces: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the mean of the networks' probabilities; an encoder that they have in common computes a clip once."""
    first = networks[0]
    batch = collate([(i, first.prepare(piece)) for i, piece in enumerate(pieces)])
    values, lengths_B = batch.values.to(device), batch.lengths_B.to(device)
    if have_one_encoder:
        pooled_BLH = first.pooled(*first.cnn(values, lengths_B))
        logits_MBE = torch.stack([network.logits(pooled_BLH) for network in networks])
    else:
        logits_MBE = torch.stack([network(values, lengths_B) for network in networks])
    return logits_MBE.double().softmax(dim=2).mean(dim=0).cpu().numpy()


def _probabilities_of_baselines(baselines: "Sequence[Baseline]", pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of the baselines' probabilities, which take the same vectors."""
    describe = vectors_named(baselines[0].features).describe
    vectors_BD = np.stack([describe(piece) for piece in pieces])
    logits_MBE = torch.stack([torch.from_numpy(baseline.logits(vectors_BD)) for baseline in baselines])
    return logits_MBE.double().softmax(dim=2).mean(dim=0).numpy()


def _read_contract(folder: Path) -> Mapping[str, Any]:
    try:
        contract = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} has no {CONTRACT}, expected the folder `transformers` or `baseline` of a logged model") from None
    except ValueError as error:
        raise ModelError(f"{folder / CONTRACT} is not valid JSON: {error}") from None
    missing = [each.name for each in fields(Terms) if each.name not in contract and each.default is each.default_factory is MISSING]
    if missing:
        raise ModelError(f"{folder / CONTRACT} lacks {', '.join(missing)}")
    return contract


def find_audio(place: Path) -> list[Path]:
    """Return a file as it is, or all audio files in a folder and its subfolders (by suffix; hidden ones are skipped), in order.

    Raises:
        DataError: there is none.
    """
    if not place.is_dir():
        if not place.exists():
            raise DataError(f"no file or folder {place}")
        return [place]
    found = [path for path in walk(place) if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise DataError(f"{place} holds no audio, expected files that end in {', '.join(AUDIO_SUFFIXES)}")
    return found


def predict_files(predictor: Predictor, files: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of `Predictor.predict` for files, in their order: `file` in place of `clip`, and `error` last.

    A file that cannot be used has one row, whose error says why.
    """
    tables = []
    with progress(len(files), "predict", "file") as bar:
        seconds = 0.0

        def heard(more: float) -> None:
            nonlocal seconds
            seconds += more
            bar.set_postfix_str(f"{seconds:,.0f} s of audio")

        for chunk in _decoded_chunks(files, predictor.terms.min_seconds):
            tables.append(_predict_chunk(predictor, chunk, heard))
            bar.update(len(chunk))
    return pd.concat(tables, ignore_index=True).astype({"file": str, "emotion": str, "error": str})


def _decoded_chunks(files: Sequence[Path], min_seconds: float) -> Iterator[dict[Path, np.ndarray | BadAudio]]:
    chunk: dict[Path, np.ndarray | BadAudio] = {}
    num_samples = 0
    for file in files:
        try:
            chunk[file] = wave = decode(file, min_seconds).samples
            num_samples += len(wave)
        except BadAudio as error:
            chunk[file] = error
        if len(chunk) == CHUNK_FILES or num_samples >= CHUNK_SECONDS * SAMPLE_RATE:
            yield chunk
            chunk, num_samples = {}, 0
    if chunk:
        yield chunk


def _predict_chunk(
    predictor: Predictor, chunk: Mapping[Path, np.ndarray | BadAudio], each_batch: Callable[[float], object]
) -> pd.DataFrame:
    waves = {file: decoded for file, decoded in chunk.items() if isinstance(decoded, np.ndarray)}
    rows = predictor.predict(list(waves.values()), each_batch)
    rows["clip"] = [list(waves)[clip] for clip in rows["clip"]]
    errors = [{"clip": file, "emotion": "", "error": str(decoded)} for file, decoded in chunk.items() if isinstance(decoded, BadAudio)]
    rows = pd.concat([rows.assign(error=""), pd.DataFrame(errors, columns=["clip", "emotion", "error"])])
    order = {file: position for position, file in enumerate(chunk)}
    rows = rows.sort_values("clip", key=lambda files: files.map(order), kind="stable")
    rows.insert(0, "file", [_shown(file) for file in rows.pop("clip")])
    return rows


def _shown(file: Path) -> str:
    """Return a path as text that any table can hold, even where a file's name is not valid text."""
    return os.fsencode(file.as_posix()).decode("utf-8", "replace")


def check_format(output: Path) -> None:
    """Refuse, before anything is computed, a table that `write_table` cannot write."""
    if output.suffix not in FORMATS:
        raise SettingsError(f"output={output}: {one_of('format', output.suffix, FORMATS)}")


def write_table(table: pd.DataFrame, output: Path) -> None:
    """Write a table in the format of its suffix, whole or not at all."""
    with replacing(output) as aside:
        if output.suffix == ".csv":
            table.to_csv(aside, index=False)
        else:
            table.to_parquet(aside, index=False)
