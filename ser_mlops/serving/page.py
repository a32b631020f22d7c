"""A page in the browser to try a model on a recording: its answers over time, and the sound as the model hears it.

The page works offline: fonts, scripts and players come with Gradio, whose telemetry is switched off. Recordings are kept in a folder of
their own and removed when the page stops.
"""

import os
import signal
import threading
from dataclasses import replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import gradio
import numpy as np
import pandas as pd

from ser_mlops.data.audio.format import FULL_SCALE, SAMPLE_RATE
from ser_mlops.emotions import EMOTIONS
from ser_mlops.errors import SerError, SettingsError
from ser_mlops.scores.figures.recordings import over_time
from ser_mlops.scores.figures.style import BLUE, EMOTION_COLOURS, ORANGE, VERMILLION, save
from ser_mlops.serving.champion import fetched, limits_of
from ser_mlops.serving.predictor import CARD, Predictor
from ser_mlops.serving.pyfunc import BATCH_SIZE, Limits

FINER_SECONDS = (5.0, 2.0, 1.0)
"""Windows that can be chosen besides the model's own."""
MARGIN = 4
"""Uploads are cut off at so many times the limit of the model; a file between the two gets a line that names the limit."""
LOCAL = ("127.0.0.1", "localhost", "::1")
STYLE_SHEET = f"""
.ser-answer {{ font-size: 1.3rem; }}
.ser-warning {{ border-left: 6px solid {VERMILLION}; padding: 0.6rem 1rem; font-weight: 600; }}
.ser-rows table {{ width: 100%; font-variant-numeric: tabular-nums; }}
.ser-rows th, .ser-rows td {{ text-align: right; padding: 0.2rem 0.6rem; border: 1px solid var(--border-color-primary); }}
"""
Shown = tuple[str, str | None, str | None, tuple[int, np.ndarray] | None]
"""What the page shows of a recording: a line, the path of the figure, the table, and the sound; lines and tables are HTML."""


class Listener:
    """A model that answers about one recording at a time."""

    def __init__(self, predictor: Predictor, limits: Limits, folder: Path) -> None:
        terms = predictor.terms
        finer = [seconds for seconds in FINER_SECONDS if terms.min_seconds <= seconds < terms.window_seconds]
        self.predictors = {
            seconds: Predictor(predictor.model, replace(terms, window_seconds=seconds), BATCH_SIZE)
            for seconds in (terms.window_seconds, *finer)
        }
        self.terms = terms
        self.limits = limits
        self.folder = folder

    def answer(self, file: str | None, window_seconds: float) -> Shown:
        """Return what to show of a recording, or why it cannot be used; nothing where there is none."""
        if file is None:
            return "", None, None, None
        name = Path(file).name
        try:
            wave = self.limits.decode_one(Path(file).read_bytes(), self.terms.min_seconds)
            rows = self.predictors[window_seconds].predict([wave]).drop(columns="clip")
        except SerError as error:
            return f'<div class="ser-warning">cannot be used: {escape(name)}: {escape(str(error))}</div>', None, None, None
        figure = over_time(wave / FULL_SCALE, SAMPLE_RATE, rows, name, self.terms.note)
        picture = Path(mkdtemp(dir=self.folder)) / f"{Path(file).stem}.png"
        save(figure, picture)
        return f'<div class="ser-answer">{_summary(rows)}</div>', str(picture), _table(rows), (SAMPLE_RATE, wave)


def _summary(rows: pd.DataFrame) -> str:
    """Return the answer as HTML: the emotion of one window and its probability, or the number of windows of each emotion."""
    if len(rows) == 1:
        emotion = rows["emotion"].iloc[0]
        return f"{_coloured(emotion)} {rows[emotion].iloc[0]:.1%}"
    counts = rows["emotion"].value_counts()
    return f"{len(rows)} windows: " + ", ".join(f"{_coloured(emotion)} in {count}" for emotion, count in counts.items())


def _table(rows: pd.DataFrame) -> str:
    seconds, share = "{:.2f}".format, "{:.4f}".format
    formats = {"start": seconds, "end": seconds} | dict.fromkeys(EMOTIONS, share)
    return f'<div class="ser-rows">{rows.to_html(index=False, border=0, formatters=formats)}</div>'


def _coloured(emotion: str) -> str:
    return f'<span style="color: {EMOTION_COLOURS[emotion]}">&#9632;</span> <b>{emotion}</b>'


def build_page(listener: Listener, model_uri: str, card: str) -> gradio.Blocks:
    """Lay out the page."""
    limits, terms = listener.limits, listener.terms
    with gradio.Blocks(analytics_enabled=False, title=f"Try {model_uri}", delete_cache=(600, 3600)) as page:
        gradio.Markdown(
            f"# Try a model: `{model_uri}`\nUpload or record a clip of {terms.min_seconds:g} to {limits.max_seconds:g} seconds "
            f"and at most {limits.max_megabytes:g} MB. It stays on this machine and is removed when the page stops."
        )
        if terms.note:
            gradio.HTML(f'<div class="ser-warning">The model was trained on {escape(terms.note)}: its answers mean nothing.</div>')
        with gradio.Row():
            clip = gradio.Audio(
                type="filepath",
                label="Clip",
                buttons=["download"],
                waveform_options=gradio.WaveformOptions(waveform_color=BLUE, waveform_progress_color=ORANGE),
            )
            with gradio.Column():
                windows = gradio.Radio(
                    [(_window_label(seconds, terms.window_seconds), seconds) for seconds in listener.predictors],
                    value=terms.window_seconds,
                    label="Longest window",
                )
                answer = gradio.HTML(elem_id="answer")
                sound = gradio.Audio(
                    label="As the model hears it: mono, 16 kHz",
                    visible=False,
                    interactive=False,
                    buttons=["download"],
                    waveform_options=gradio.WaveformOptions(waveform_color=BLUE, waveform_progress_color=ORANGE),
                )
        picture = gradio.Image(
            show_label=False,
            visible=False,
            interactive=False,
            buttons=["download", "fullscreen"],
            alt_text="Waveform and probabilities of each window",
        )
        rows = gradio.HTML(visible=False, max_height=480)
        with gradio.Accordion("Model card", open=False):
            gradio.Markdown(card)

        def show(file: str | None, window_seconds: float) -> list[object]:
            line, *others = listener.answer(file, window_seconds)
            return [line, *(gradio.update(value=value, visible=value is not None) for value in others)]

        gradio.on([clip.change, windows.change], show, [clip, windows], [answer, picture, rows, sound], api_visibility="private")
    return page


def _window_label(seconds: float, own: float) -> str:
    return f"{seconds:g} s (the model's own)" if seconds == own else f"{seconds:g} s"


def serve_page(model_uri: str, address: str, port: int, limits: Limits) -> None:
    """Open a model, serve the page until the process is asked to stop (SIGINT, SIGTERM), and remove the recordings.

    `limits` apply if the model has none, as a plain folder of weights.

    Raises:
        ModelError: there is no such model.
        SettingsError: the page cannot listen there.
    """
    limits = limits_of(model_uri) or limits
    with fetched(model_uri) as weights:
        predictor = Predictor.open(weights)
        card = (
            _without_front_matter((weights / CARD).read_text(encoding="utf-8")) if (weights / CARD).is_file() else "This model has no card."
        )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with TemporaryDirectory(prefix="ser-try-") as folder:
        _keep_to_this_machine(folder)
        page = build_page(Listener(predictor, limits, Path(folder)), model_uri, card)
        try:
            _, url, _ = page.launch(
                server_name=address,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                css=STYLE_SHEET,
                max_file_size=int(MARGIN * limits.max_megabytes * 1e6),
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
            )
        except OSError as error:
            raise SettingsError(f"the page cannot listen on {address}, port {port} ({error}): give another --port") from error
        if predictor.terms.note:
            print(f"note: the model was trained on {predictor.terms.note}: its answers mean nothing")
        print(f"{model_uri}: open {url} in a browser; Ctrl-C stops the page", flush=True)
        stopped.wait()
        page.close(verbose=False)


def _keep_to_this_machine(folder: str) -> None:
    """Make Gradio keep its files in `folder`, contact no other machine, and reach its own page past any proxy."""
    unproxied = [name for name in os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",") if name]
    os.environ |= {
        "GRADIO_TEMP_DIR": folder,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "no_proxy": ",".join([*unproxied, *LOCAL]),
        "NO_PROXY": ",".join([*unproxied, *LOCAL]),
    }


def _without_front_matter(card: str) -> str:
    """Return the text of a card without its block of YAML.

    >>> _without_front_matter("---\\nlibrary_name: transformers\\n---\\n\\n# A model\\n")
    '# A model\\n'
    """
    return card.split("---\n", 2)[-1].lstrip() if card.startswith("---\n") else card
