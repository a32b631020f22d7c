"""A page in the browser to try a model on a recording: its answers over time, and the sound as the model hears it."""

from html import escape
from pathlib import Path

import gradio

from ser_mlops.errors import SerError
from ser_mlops.serving.champion import fetched, limits_of
from ser_mlops.serving.listener import Listener, Shown
from ser_mlops.serving.local_page import serve, waveform
from ser_mlops.serving.predictor import CARD, Predictor
from ser_mlops.serving.pyfunc import Limits

MARGIN = 4
"""Uploads are cut off at so many times the limit of the model; a file between the two gets a line that names the limit."""


def answer(listener: Listener, limits: Limits, file: str | None, window_seconds: float) -> Shown:
    """Return what to show of a recording, or why it cannot be used; nothing where there is none."""
    if file is None:
        return "", None, None, None
    name = Path(file).name
    try:
        wave = limits.decode_one(Path(file).read_bytes(), listener.terms.min_seconds)
        return listener.show(wave, window_seconds, name)
    except SerError as error:
        return f'<div class="ser-warning">cannot be used: {escape(name)}: {escape(str(error))}</div>', None, None, None


def build_page(listener: Listener, limits: Limits, model_uri: str, card: str) -> gradio.Blocks:
    """Lay out the page."""
    terms = listener.terms
    with gradio.Blocks(analytics_enabled=False, title=f"Try {model_uri}", delete_cache=(600, 3600)) as page:
        gradio.Markdown(
            f"# Try a model: `{model_uri}`\nUpload or record a clip of {terms.min_seconds:g} to {limits.max_seconds:g} seconds "
            f"and at most {limits.max_megabytes:g} MB. It stays on this machine and is removed when the page stops."
        )
        if terms.note:
            gradio.HTML(f'<div class="ser-warning">The model was trained on {escape(terms.note)}: its answers mean nothing.</div>')
        with gradio.Row():
            clip = gradio.Audio(type="filepath", label="Clip", buttons=["download"], waveform_options=waveform())
            with gradio.Column():
                windows = gradio.Radio(listener.windows, value=terms.window_seconds, label="Longest window")
                line = gradio.HTML(elem_id="answer")
                sound = gradio.Audio(
                    label="As the model hears it: mono, 16 kHz",
                    visible=False,
                    interactive=False,
                    buttons=["download"],
                    waveform_options=waveform(),
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
            said, *others = answer(listener, limits, file, window_seconds)
            return [said, *(gradio.update(value=value, visible=value is not None) for value in others)]

        gradio.on([clip.change, windows.change], show, [clip, windows], [line, picture, rows, sound], api_visibility="private")
    return page


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
    note = predictor.terms.note and f"the model was trained on {predictor.terms.note}: its answers mean nothing"

    def build(folder: Path) -> gradio.Blocks:
        return build_page(Listener(predictor, folder), limits, model_uri, card)

    serve(build, model_uri, address, port, note, int(MARGIN * limits.max_megabytes * 1e6))


def _without_front_matter(card: str) -> str:
    """Return the text of a card without its block of YAML.

    >>> _without_front_matter("---\\nlibrary_name: transformers\\n---\\n\\n# A model\\n")
    '# A model\\n'
    """
    return card.split("---\n", 2)[-1].lstrip() if card.startswith("---\n") else card
