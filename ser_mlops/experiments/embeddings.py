"""Embeds corpora by every layer of an encoder: tables on disk; probes, figures and their numbers in a run of kind `embed`.

A table has one row per clip of a frame: the frame's columns, then `layer_0`, `layer_1`, …, every cell so many numbers of float32.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_mlops.data.demo.mark import is_synthetic
from ser_mlops.data.folders import AUDIO
from ser_mlops.data.frames import read_frame
from ser_mlops.data.lock import Version, read_versions
from ser_mlops.data.progress import progress
from ser_mlops.emotions import SEVEN
from ser_mlops.errors import SettingsError, counted, one_of
from ser_mlops.experiments.corpora import name_corpora
from ser_mlops.experiments.encoders import check_layers, open_encoder, refuse_unheard_by, vectors_named_by
from ser_mlops.experiments.experiment import DATA_SECTIONS
from ser_mlops.experiments.layer_probes import Probed, plan_probes, probe_layers
from ser_mlops.experiments.recording import draw
from ser_mlops.files import replacing
from ser_mlops.models.location import locate
from ser_mlops.models.probes import in_two_dimensions
from ser_mlops.scores.tables import markdown
from ser_mlops.seeds import rng
from ser_mlops.serving.champion import best_round, run_behind
from ser_mlops.settings.sections import Settings
from ser_mlops.tracking.names import EMOTIONS_TAG
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import commit_tags, machine_tags
from ser_mlops.tracking.runlog import RunLog
from ser_mlops.tracking.store import open_store, parent_id_of, space_of
from ser_mlops.training.batching import Clips
from ser_mlops.training.caches import Features
from ser_mlops.training.embeddings import open_layers, outputs_of, shape_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "embed"
LAYER = "layer_{}"
CLIPS_AT_ONCE = 256
"""Rows that are in memory at a time while a table is written."""


@dataclass(frozen=True)
class Embedded:
    """Corpora embedded by one model."""

    name: str
    features: Features
    frames: Mapping[str, pd.DataFrame]
    num_layers: int
    width: int


def choose_corpora(settings: Settings) -> tuple[str, ...]:
    """Return the corpora to embed: those given, else those of the run, else all.

    Raises:
        SettingsError: one of them is not in data.corpora.
        TrackingError: there is no such run.
    """
    chosen, known = settings.embed, settings.data.corpora
    wanted = list(chosen.corpora)
    if not wanted and chosen.run_id:
        tags = run_behind(open_store(), chosen.run_id).data.tags
        wanted = [tag.removeprefix("dvc.") for tag in tags if tag.startswith("dvc.")]
    for name in wanted:
        if name not in known:
            raise SettingsError(f"{one_of('corpus', name, known)} (data.corpora in params.yaml)")
    return tuple(name for name in known if name in wanted or not wanted)


def embed(settings: Settings, versions: Mapping[str, Version]) -> Embedded:
    """Compute the outputs of every layer for corpora, or open what is cached of them.

    Raises:
        ModelError: there is no such model.
        SettingsError: it has no such layer.
        TrainingError: nothing can be cached, or the model would hear the beginning of a clip alone.
    """
    chosen, cache = settings.embed, Path(settings.paths.cache)
    audio = {corpus: version.audio for corpus, version in versions.items()}
    frames = {corpus: read_frame(version.frame) for corpus, version in versions.items()}
    frames = {corpus: frame[frame["num_labels"] == 1].reset_index(drop=True) for corpus, frame in frames.items()}
    source = open_encoder(chosen.model, chosen.run_id, chosen.seed)
    for frame in frames.values():
        refuse_unheard_by(source, Clips.from_frame(frame, AUDIO), "corpora")
    num_layers, width = shape_of(source)
    check_layers([] if chosen.layer is None else [chosen.layer], num_layers)
    features = open_layers(source, audio, cache)
    return Embedded(chosen.run_id or chosen.model, features, frames, num_layers, width)


def corpora_trained_on(run_id: str, corpora: Iterable[str]) -> tuple[str, ...]:
    """Return the corpora that the encoder of a round, or of the best round of an experiment, was trained on; none if it stayed frozen."""
    client = open_store()
    run = run_behind(client, run_id)
    tags = (run if parent_id_of(run) else best_round(client, run)).data.tags
    if tags.get("freeze", "encoder") == "encoder":  # the baseline has no such tag
        return ()
    return tuple(corpus for corpus in corpora if "train_datasets" not in tags or corpus in tags["train_datasets"].split(","))


def conduct_embedding(settings: Settings) -> Probed:
    """Embed corpora, write the tables, probe every layer, and log what was found."""
    chosen = settings.embed
    if chosen.run_id is None and vectors_named_by(chosen.model, None) is None:
        locate(chosen.model)
    params = {section: getattr(settings, section).model_dump(mode="json") for section in DATA_SECTIONS}
    versions = read_versions(choose_corpora(settings), params)
    trained_on = corpora_trained_on(chosen.run_id, versions) if chosen.run_id else ()
    space = space_of(run_behind(open_store(), chosen.run_id)) if chosen.run_id else SEVEN
    warning = "synthetic data" if any(is_synthetic(Path(settings.data.raw), corpus) for corpus in versions) else ""
    tags = {"kind": KIND, "data": "synthetic" if warning else "real", "model": chosen.run_id or chosen.model}
    tags[EMOTIONS_TAG] = str(space)
    tags |= {f"dvc.{corpus}": version.frame_md5 for corpus, version in versions.items()} | commit_tags() | machine_tags()
    name = f"embed {name_corpora(list(versions))} by {chosen.run_id or chosen.model}"
    with open_notebook(name=name, tags=tags, folder=Path(settings.paths.checkpoints) / OUTBOX) as notebook:
        run = notebook.parent
        run.params({f"embed.{key}": value for key, value in chosen.model_dump().items()})
        for corpus, version in versions.items():
            run.dataset(corpus, version.frame_md5, version.frame.as_posix(), "embedded", "")
        embedded = embed(settings, versions)
        tables = {corpus: table_file(chosen.output, embedded.name, corpus) for corpus in versions}
        for corpus, path in tables.items():
            write_embeddings(embedded.frames[corpus], embedded.features, path)
            print(f"{path}: {len(embedded.frames[corpus])} clips, {counted(embedded.num_layers, 'layer')} of {embedded.width} numbers")
        tasks, notes = plan_probes(embedded.frames, chosen.seed, is_by_speaker=settings.frames.split == "groups", space=space)
        probed = Probed(probe_layers(embedded.features, tasks, embedded.num_layers, embedded.width), tuple(notes), trained_on)
        layer = chosen.layer if chosen.layer is not None else probed.best_layer or 0
        page = _page(name, embedded, probed, layer, tables, warning)
        _record(run, embedded, probed, layer, settings, warning)
        run.text("embeddings.md", page)
        run.describe(page)
    print(f"\n{page}")
    print(f"open in the MLflow UI: {notebook.link}")
    return probed


def table_file(output: str, name: str, corpus: str) -> Path:
    """Return the path of a table, whose folder is named after the model.

    >>> table_file("embeddings", "facebook/wav2vec2-base", "CREMA").as_posix()
    'embeddings/facebook-wav2vec2-base/CREMA.parquet'
    """
    return Path(output) / re.sub(r"[^\w.-]+", "-", name).strip("-.") / f"{corpus}.parquet"


def write_embeddings(frame: pd.DataFrame, features: Features, path: Path) -> None:
    """Write the table of a frame's clips, whole or not at all; memory holds a few hundred clips."""
    clips = Clips.from_frame(frame, AUDIO)
    columns = pa.Table.from_pandas(frame, preserve_index=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside, progress(len(frame), f"{path.stem}: writing", "clip") as bar:
        writer = None
        for first in range(0, len(frame), CLIPS_AT_ONCE):
            outputs_NLH = outputs_of(features, clips.take(np.arange(first, min(first + CLIPS_AT_ONCE, len(frame)))))
            part = columns.slice(first, len(outputs_NLH))
            for layer in range(outputs_NLH.shape[1]):
                part = part.append_column(LAYER.format(layer), _lists(outputs_NLH[:, layer]))
            writer = writer or pq.ParquetWriter(aside, part.schema)
            writer.write_table(part)
            bar.update(len(outputs_NLH))
        assert writer is not None
        writer.close()


def _lists(vectors_NH: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors_NH, dtype=np.float32).ravel()), vectors_NH.shape[1])


def _record(run: RunLog, embedded: Embedded, probed: Probed, layer: int, settings: Settings, warning: str) -> None:
    """Log the scores of every layer at the layer as step, the tables and the figures."""
    for row in probed.scores.itertuples():
        prefix = f"embed/{row.data}/{row.probe}"
        values = {prefix: row.score, f"{prefix}_ci_low": row.ci_low, f"{prefix}_ci_high": row.ci_high, f"{prefix}_chance": row.chance}
        run.metrics({name: value for name, value in values.items() if np.isfinite(value)}, step=row.layer)
    if probed.best_layer is not None:
        run.metrics({"embed/best_layer": probed.best_layer})
    run.text("probes.csv", probed.scores.to_csv(index=False))
    points, shares = _in_the_plane(embedded, layer, settings.embed.points, settings.embed.seed)
    run.text("points.csv", points.to_csv(index=False))
    draw(run, _figures(embedded, probed, layer, points, shares, warning), settings.drawing.figures)


def _in_the_plane(embedded: Embedded, layer: int, most: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a random sample of clips with their places in two dimensions, and the shares of variance of the principal components."""
    every = pd.concat(embedded.frames.values(), ignore_index=True)
    chosen = np.sort(rng(seed, "points").permutation(len(every))[:most])
    sample = every.iloc[chosen].reset_index(drop=True)
    pca, tsne, shares = in_two_dimensions(outputs_of(embedded.features, Clips.from_frame(sample, AUDIO), layer), seed)
    points = sample[["path", "corpus", "speaker"]].assign(emotion=sample["emotions"].astype("str"))
    return points.assign(pca_1=pca[:, 0], pca_2=pca[:, 1], tsne_1=tsne[:, 0], tsne_2=tsne[:, 1]), shares


def _figures(
    embedded: Embedded, probed: Probed, layer: int, points: pd.DataFrame, shares: np.ndarray, warning: str
) -> "Iterator[tuple[str, Figure]]":
    from ser_mlops.scores.figures.embeddings import by_layer, in_the_plane

    if embedded.num_layers > 1 and not probed.scores.empty:
        best = None if _known_best(probed) is None else probed.best_layer
        yield "layers", by_layer(probed.scores, best, f"{embedded.name}: what a linear probe reads from each layer", warning)
    yield f"layer_{layer}", in_the_plane(points, shares, f"{embedded.name}, layer {layer}: {len(points)} clips", warning)


def _page(name: str, embedded: Embedded, probed: Probed, layer: int, tables: Mapping[str, Path], warning: str) -> str:
    sections = [f"# {name}", *([f"**{warning}**"] if warning else []), advice(probed, embedded.num_layers)]
    if embedded.num_layers > 1 and not probed.leading.empty:
        columns = ["layer", "score", "ci_low", "ci_high", "chance"]
        sections += ["## UAR of emotion by layer", markdown(probed.leading[columns], floats=".3f")]
    if not probed.scores.empty:
        sections += [f"## What a probe reads from layer {layer}", markdown(probed.at(layer), floats=".3f")]
    sections += ["\n".join(f"- {note}" for note in probed.notes)] if probed.notes else []
    sections += ["## Tables", "\n".join(f"- `{path.as_posix()}`" for path in tables.values())]
    return "\n\n".join(sections) + "\n"


def _known_best(probed: Probed) -> "pd.Series[Any] | None":
    """Return the row of the layer from which emotion is read best; None if it is not shown to be above chance there."""
    if probed.best_layer is None:
        return None
    row = probed.leading.set_index("layer").loc[probed.best_layer]
    return row if row["score"] > row["chance"] and not row["ci_low"] <= row["chance"] else None


def advice(probed: Probed, num_layers: int) -> str:
    """Say which layer knows emotion, how sure that is, and what it means for freezing."""
    best = probed.best_layer
    if probed.trained_on:
        return (
            f"The encoder was trained on clips of {', '.join(probed.trained_on)} that the probes are tested on: their scores are too high, "
            "and say nothing about what to freeze. Embed corpora that it was not trained on, or its checkpoint before training (model=)."
        )
    if best is None:
        return "Emotion could not be probed."
    if num_layers == 1:
        return "One kind of vector, without layers."
    if (row := _known_best(probed)) is None:
        return "Emotion is not shown to be above chance in any layer: there is nothing to choose a layer by."
    frozen = "feature_encoder" if best == 0 else "encoder" if best == num_layers - 1 else f"encoder:{best}"
    scores = probed.leading.set_index("layer")["score"]
    alike = [str(layer) for layer, score in scores.items() if layer != best and score >= row["ci_low"]]
    said = f"Emotion is read best from layer {best} of {num_layers - 1}: to freeze, try `freeze={frozen}` first."
    unsure = f" Its interval also contains the UAR of layer{'s' * (len(alike) > 1)} {', '.join(alike)}." if alike else ""
    return f"{said}{unsure} The layer was chosen on the clips that the probes were tested on: do not report its UAR as a result."
