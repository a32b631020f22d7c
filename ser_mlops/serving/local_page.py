"""Serves a Gradio page that keeps to this machine until the process is asked to stop.

A page works offline: fonts, scripts and players come with Gradio, whose telemetry is switched off. Whatever it keeps lies in a folder of
its own, which is removed when the page stops.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio

from ser_mlops.errors import SettingsError
from ser_mlops.scores.figures.style import BLUE, ORANGE, VERMILLION

LOCAL = ("127.0.0.1", "localhost", "::1")
STYLE_SHEET = f"""
.ser-answer {{ font-size: 1.3rem; }}
.ser-warning {{ border-left: 6px solid {VERMILLION}; padding: 0.6rem 1rem; font-weight: 600; }}
.ser-rows {{ overflow-x: auto; }}
.ser-rows table {{ width: 100%; font-variant-numeric: tabular-nums; }}
.ser-rows th, .ser-rows td {{ text-align: right; padding: 0.2rem 0.6rem; border: 1px solid var(--border-color-primary); }}
"""


def waveform() -> gradio.WaveformOptions:
    """Return the colours of a player."""
    return gradio.WaveformOptions(waveform_color=BLUE, waveform_progress_color=ORANGE)


def serve(
    build: Callable[[Path], gradio.Blocks],
    name: str,
    address: str,
    port: int,
    note: str = "",
    max_file_size: int | None = None,
) -> None:
    """Serve the page that `build` lays out, given the folder for what it keeps, until SIGINT or SIGTERM.

    `name` and `note` are printed with the address; uploads are at most `max_file_size` bytes.

    Raises:
        SettingsError: the page cannot listen there.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with TemporaryDirectory(prefix="ser-try-") as folder:
        _keep_to_this_machine(folder)
        page = build(Path(folder))
        try:
            _, url, _ = page.launch(
                server_name=address,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                css=STYLE_SHEET,
                max_file_size=max_file_size,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
            )
        except OSError as error:
            raise SettingsError(f"the page cannot listen on {address}, port {port} ({error}): give another --port") from error
        if note:
            print(f"note: {note}")
        print(f"{name}: open {url} in a browser; Ctrl-C stops the page", flush=True)
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
