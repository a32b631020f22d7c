"""Classifies files with a model, given by its URI; the table goes to disk and into a run of its own."""

import time
from pathlib import Path

from ser_mlops.errors import SettingsError, counted
from ser_mlops.serving.champion import fetched
from ser_mlops.serving.predictor import Predictor, check_format, find_audio, predict_files, write_table
from ser_mlops.tracking.notebook import open_notebook
from ser_mlops.tracking.outbox import OUTBOX
from ser_mlops.tracking.provenance import commit_tags, machine_tags


def conduct_prediction(
    model_uri: str | None, audio: str | None, output: Path, *, window_seconds: float | None, batch_size: int, checkpoints: Path
) -> int:
    """Classify a recording or a folder of them; return the exit code: 1 if a file could not be used, else 0.

    Raises:
        SettingsError: no model, no audio, or an output of another format is given.
        DataError: there is no audio.
        ModelError: there is no such model.
    """
    if model_uri is None or audio is None:
        raise SettingsError("predict needs model_uri (models:/NAME@champion, a run id or a folder) and audio (a file or a folder)")
    check_format(output)
    files = find_audio(Path(audio))
    with fetched(model_uri) as folder:
        predictor = Predictor.open(folder, window_seconds=window_seconds, batch_size=batch_size)
    tags = {"kind": "predict", "model_uri": model_uri, "audio": audio, **commit_tags(), **machine_tags()}
    if predictor.terms.note:
        tags["model_note"] = predictor.terms.note
    started = time.perf_counter()
    table = predict_files(predictor, files)
    seconds = time.perf_counter() - started
    write_table(table, output)
    bad = table[table["error"] != ""]
    audio_seconds = float((table["end"] - table["start"]).sum())
    summary = (
        f"{counted(len(files), 'file')}, {audio_seconds:,.1f} s of audio in {seconds:,.1f} s: {len(files) / seconds:,.1f} files/s, "
        f"{audio_seconds / seconds:,.1f} times faster than real time"
    )
    problems = [f"cannot be used: {row.file}: {row.error}" for row in bad.itertuples()]
    with open_notebook(
        name=f"predict {Path(audio).name} by {model_uri}",
        tags=tags,
        folder=checkpoints / OUTBOX,
        is_detached=bool(problems),  # as `mlflow run` marks its own run FAILED where the exit code is 1, and this prediction is not
    ) as notebook:
        with notebook.parent.artifact(output.name) as copy:
            write_table(table, copy)
        notebook.parent.metrics({"files": len(files), "unusable": len(bad), "audio_seconds": audio_seconds, "seconds": seconds})
        notebook.parent.describe("\n".join([summary, "", *(f"- {problem}" for problem in problems)]).strip())
    counts = table["emotion"].value_counts().drop("", errors="ignore")
    if len(counts):
        print(counts.to_string(header=False))
    print(f"{summary}\n{output}: {counted(len(table), 'row')}")
    if predictor.terms.note:
        print(f"note: the model was trained on {predictor.terms.note}: its answers mean nothing")
    for problem in problems:
        print(problem)
    return 1 if problems else 0
