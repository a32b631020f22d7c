"""A page in the browser to listen to what an experiment gets wrong: filters, a player, and the model's answer over time.

Clips are played from the project's decoded audio, as the model hears them, by their places in the frames; nothing is uploaded anywhere.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio
import numpy as np
import pandas as pd

from ser_mlops.data.folders import audio_file
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import DataError, SerError
from ser_mlops.serving.champion import fetched
from ser_mlops.serving.listener import Listener, coloured
from ser_mlops.serving.local_page import serve, waveform
from ser_mlops.serving.predictor import Predictor

ANY = "any"
SHOWN_ROWS = 500
"""More rows than this would make the browser slow; filters narrow them down."""
COLUMNS = {
    "path": "clip",
    "speaker": "speaker",
    "emotion": "emotion",
    "answer": "answer",
    "confidence": "confidence",
    "p_emotion": "p of the emotion",
    "wrong": "rounds wrong",
}
"""Columns of the list of clips, and their headings."""
UNSEEN = ("path", "group", "fold", "part", "start", "num_samples", "sha256", "answer", "confidence", "p_emotion", "wrong")
"""Columns that are not listed among the facts of a clip."""
SOUND = "The clip as the model hears it: mono, 16 kHz"
OWN = "whole clip"
WINDOWS = (2.0, 1.0, 0.5)
"""In seconds. Corpora have clips of one to five seconds, so these are finer than those of `make try`."""


@dataclass(frozen=True)
class Errors:
    """What the page shows: clips with their answers, as `scores.mistakes` finds them, and which run tested each in which round."""

    name: str
    summary: str
    warning: str
    clips: pd.DataFrame
    runs: Sequence[Mapping[str, str]]
    """By round: the id of the run whose model tested a clip, by path."""

    @property
    def which(self) -> dict[str, "pd.Series[bool]"]:
        """The choices of clips by how many rounds get them wrong."""
        wrong, count = self.clips["wrong"], len(self.runs)
        if count == 1:
            return {"wrong": wrong > 0, "right": wrong == 0, "all clips": wrong >= 0}
        return {
            "wrong in any round": wrong > 0,
            "wrong in every round": wrong == count,
            "wrong in some rounds, right in others": (wrong > 0) & (wrong < count),
            "right in every round": wrong == 0,
            "all clips": wrong >= 0,
        }

    def choose(self, which: str, equal: Mapping[str, str], text: str) -> pd.DataFrame:
        """Return the clips that pass the filters, the surest answer first: a value for each column (ANY: all), words of path or text."""
        chosen = self.clips[self.which[which]]
        for column, value in equal.items():
            if value and value != ANY:
                chosen = chosen[chosen[column].astype("str") == value]
        for word in text.lower().split():
            said = chosen["path"] + " " + chosen["text"].fillna("").astype("str")
            chosen = chosen[said.str.lower().str.contains(word, regex=False)]
        return chosen.sort_values(["confidence", "path"], ascending=[False, True])


def clip_of(clips: pd.DataFrame, path: str) -> "pd.Series[Any]":
    """Return the row of a clip."""
    return clips.loc[clips["path"] == path].iloc[0]


def samples_of(row: "pd.Series[Any]") -> np.ndarray:
    """Return the samples of a clip, checked to be those of the frame.

    Raises:
        DataError: the clip is no longer in the frame, or its audio is not there as the frame has it.
    """
    if pd.isna(row["start"]):
        raise DataError(f"{row['path']} is no longer in the frame of {row['corpus']}")
    audio = audio_file(row["corpus"])
    if not audio.is_file():
        raise DataError(f"no {audio}: run `dvc repro`")
    start, number = int(row["start"]), int(row["num_samples"])
    wave = np.array(np.load(audio, mmap_mode="r")[start : start + number])
    if hashlib.sha256(wave.tobytes()).hexdigest() != row["sha256"]:
        raise DataError(f"{audio} does not hold {row['path']} as the frame of {row['corpus']} says: run `dvc repro`")
    return wave


@dataclass
class Models:
    """The models of the rounds, of which one is in memory at a time."""

    folder: Path
    _run_id: str = ""
    _listener: Listener | None = field(default=None, repr=False)

    def of(self, run_id: str) -> Listener:
        """Return the model of a run.

        Raises:
            ModelError: the run holds none.
        """
        if self._listener is None or run_id != self._run_id:
            self._listener = None
            with fetched(run_id) as weights:
                self._listener = Listener(Predictor.open(weights), self.folder, WINDOWS)
            self._run_id = run_id
        return self._listener


def show_clip(errors: Errors, models: Models, path: str, round: int, window: str) -> tuple[str, str, str | None, str | None, Any]:
    """Return what the page shows of a clip: its facts, a line, figure, table and sound."""
    row = clip_of(errors.clips, path)
    facts = _facts(row, len(errors.runs))
    try:
        wave = samples_of(row)
    except SerError as error:
        return facts, _warning(f"cannot be played: {error}"), None, None, None
    try:
        listener = models.of(errors.runs[round][path])
        seconds = next((seconds for label, seconds in listener.windows if label == window), listener.terms.window_seconds)
        line, picture, table, sound = listener.show(wave, seconds, path)
    except SerError as error:
        return facts, _warning(f"no answer over time: {error}"), None, None, (16000, wave)
    return facts, line, picture, table, sound


def _warning(text: str) -> str:
    return f'<div class="ser-warning">{escape(text)}</div>'


def _facts(row: "pd.Series[Any]", num_rounds: int) -> str:
    """Return what is known of a clip, and what the rounds answered, as HTML."""
    answers = ", ".join(coloured(row[f"answer_{number}"]) for number in range(num_rounds))
    unseen = ("answer_",) if row.get("num_votes") else ("answer_", "votes_", "num_votes")
    known = {name: value for name, value in row.items() if name not in UNSEEN and not str(name).startswith(unseen)}
    told = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(f'{value:.2f}' if isinstance(value, float) else str(value))}</td></tr>"
        for name, value in known.items()
        if not (pd.isna(value) or value == "")
    )
    return (
        f'<div class="ser-answer" id="clip">{escape(row["path"])}</div>'
        f"<p>{coloured(row['emotion'])} at {row['p_emotion']:.1%}, answered {answers} (wrong in {row['wrong']} of {num_rounds})</p>"
        f'<div class="ser-rows"><table>{told}</table></div>'
    )


def build_page(errors: Errors, folder: Path) -> gradio.Blocks:
    """Lay out the page."""
    models = Models(folder)
    clips = errors.clips
    with gradio.Blocks(analytics_enabled=False, title=f"Errors of {errors.name}", delete_cache=(600, 3600)) as page:
        gradio.Markdown(f"# Errors of {errors.name}\n{errors.summary} The sound stays on this machine.")
        if errors.warning:
            gradio.HTML(_warning(errors.warning))
        with gradio.Row():
            which = gradio.Dropdown(list(errors.which), label="Clips", elem_id="which")
            emotion = _choice("Emotion", [name for name in EMOTIONS if (clips["emotion"] == name).any()])
            answered = _choice("Answer", [name for name in EMOTIONS if (clips["answer"] == name).any()])
            corpus = _choice("Corpus", sorted(clips["corpus"].astype("str").unique()))
            speaker = _choice("Speaker", sorted(clips["speaker"].astype("str").unique()))
            text = gradio.Textbox(label="Words of path or sentence", elem_id="words")
        count = gradio.HTML(elem_id="count")
        table = gradio.Dataframe(headers=list(COLUMNS.values()), interactive=False, max_height=300, elem_id="clips", wrap=True)
        with gradio.Row():
            with gradio.Column():
                sound = gradio.Audio(label=SOUND, visible=False, interactive=False, buttons=["download"], waveform_options=waveform())
                facts = gradio.HTML(elem_id="facts")
            with gradio.Column():
                with gradio.Row():
                    several = [(f"round {number}", number) for number in range(len(errors.runs))]
                    rounds = gradio.Radio(several, value=0, label="Model of", visible=len(several) > 1)
                    lengths = [OWN, *(f"{seconds:g} s" for seconds in WINDOWS)]
                    windows = gradio.Radio(lengths, value=lengths[-1], label="Longest window")
                line = gradio.HTML(elem_id="answer")
                picture = gradio.Image(
                    show_label=False,
                    visible=False,
                    interactive=False,
                    buttons=["fullscreen"],
                    alt_text="Answer over time",
                    elem_id="over-time",
                )
                rows = gradio.HTML(visible=False, max_height=300)
        path = gradio.State("")
        filters: list[Any] = [which, emotion, answered, corpus, speaker, text]

        def list_clips(which: str, emotion: str, answer: str, corpus: str, speaker: str, text: str) -> tuple[str, pd.DataFrame]:
            chosen = errors.choose(which, {"emotion": emotion, "answer": answer, "corpus": corpus, "speaker": speaker}, text)
            cut = f", the first {SHOWN_ROWS:,} below" if len(chosen) > SHOWN_ROWS else ""
            return f"{len(chosen):,} of {len(clips):,} clips{cut}; click on one to listen", _rounded(chosen.head(SHOWN_ROWS))

        def select(event: gradio.SelectData) -> str:
            return str(event.row_value[0])

        def show(path: str, round: int, window: str) -> list[object]:
            if not path:
                return ["", "", *(gradio.update(visible=False) for _ in range(3))]
            told, said, *others = show_clip(errors, models, path, round, window)
            return [told, said, *(gradio.update(value=value, visible=value is not None) for value in others)]

        gradio.on([page.load, *(each.change for each in filters)], list_clips, filters, [count, table], api_visibility="private")
        table.select(select, None, path, api_visibility="private")
        triggers: list[Callable[..., Any]] = [path.change, rounds.change, windows.change]
        gradio.on(triggers, show, [path, rounds, windows], [facts, line, picture, rows, sound], api_visibility="private")
    return page


def _choice(label: str, values: Sequence[str]) -> gradio.Dropdown:
    return gradio.Dropdown([ANY, *values], value=ANY, label=label, elem_id=f"by-{label.lower()}")


def _rounded(clips: pd.DataFrame) -> pd.DataFrame:
    shares = {name: clips[name].map("{:.1%}".format) for name in ("confidence", "p_emotion")}
    return clips.assign(**shares)[list(COLUMNS)].rename(columns=COLUMNS)


def serve_errors(errors: Errors, address: str, port: int) -> None:
    """Serve the page until the process is asked to stop (SIGINT, SIGTERM).

    Raises:
        SettingsError: the page cannot listen there.
    """
    serve(lambda folder: build_page(errors, folder), f"errors of {errors.name}", address, port, errors.warning)
