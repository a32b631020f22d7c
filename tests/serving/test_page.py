"""The page to try a model, in a real browser: what it shows of a recording is what `predict` says. SER_PICTURES=FOLDER has it pictured."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from ser_mlops.data.audio.decode import decode
from ser_mlops.data.audio.defects import BadAudio
from ser_mlops.emotions import EMOTIONS
from ser_mlops.serving.predictor import NETWORK_FOLDER, Predictor, predict_files
from tests.chromium import CHROMIUM, FLAGS, NEEDS_CHROMIUM, sound
from tests.data.audio.sounds import encoded, tone
from tests.project import Project
from tests.servers import free_port, opened_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])")
pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed (pip install -e .[try])"),  # importing it takes seconds
]

MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""The microphone is one that beeps, and nobody is asked whether it may be used."""
PATIENCE_MS = 300_000
MAX_SECONDS, MAX_MEGABYTES = 20, 1
CHAMPION = {
    "test_dataset": "CREMA",
    "model": "tiny",
    "lr": "3e-3",
    "epochs": "10",
    "batch_size": "8",
    "rounds": "1",
    "register": "ser",
    "serving.max_seconds": str(MAX_SECONDS),
    "max_megabytes": str(MAX_MEGABYTES),
}


@pytest.fixture(scope="module")
def laboratory(project, tmp_path_factory) -> Project:
    """A copy of the project with a champion."""
    laboratory = project.copy(tmp_path_factory.mktemp("try") / "laboratory")
    laboratory.run_here("pipelines.train", **CHAMPION)
    laboratory.set(port=str(free_port()))
    return laboratory


@dataclass(frozen=True)
class Served:
    """A page that is up: its address, its process, and the folder where the process keeps temporary files."""

    url: str
    process: "subprocess.Popen[str]"
    folder: Path


def stop(process: "subprocess.Popen[str]", number: int) -> str:
    """End it by a signal; return what it still printed."""
    process.send_signal(number)
    output, _ = process.communicate(timeout=600)
    return output


@pytest.fixture(scope="module")
def served(laboratory, tmp_path_factory) -> Iterator[Served]:
    """The page of the champion, as `make try` starts it."""
    folder = tmp_path_factory.mktemp("temporary")
    nobody = "http://127.0.0.1:9"  # what went through this proxy would fail
    process = laboratory.start("python", "-m", "pipelines.try_page", TMPDIR=str(folder), http_proxy=nobody)
    address, lines = opened_page(process)
    assert "note: the model was trained on synthetic data: its answers mean nothing\n" in lines
    yield Served(address, process, folder)
    if process.poll() is None:
        stop(process, signal.SIGKILL)


@dataclass(frozen=True)
class Page:
    """The page in the browser, and every address that it asked for."""

    page: "sync_api.Page"
    asked: list[str]

    def upload(self, file: Path) -> None:
        """Give it a recording in place of the one before."""
        self.clear()
        self.page.locator("input[type=file]").set_input_files(file)

    def clear(self) -> None:
        if self.page.get_by_label("Clear").is_visible():
            self.page.get_by_label("Clear").click()
        self.page.wait_for_function("document.querySelector('#answer')?.innerText.trim() === ''")

    def answer(self, beginning: str) -> str:
        """Return the line above the figure, once there is one that holds a text."""
        self.page.locator("#answer").filter(has_text=beginning).wait_for()
        return self.page.locator("#answer").inner_text().strip()

    def rows(self) -> pd.DataFrame:
        """Return the table as it stands on the page."""
        table = self.page.locator(".ser-rows")
        cells = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
        return pd.DataFrame(cells, columns=table.locator("th").all_inner_texts())


@pytest.fixture(scope="module")
def page(served) -> Iterator[Page]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *MICROPHONE])
        page = browser.new_page(viewport={"width": 1200, "height": 860})
        page.set_default_timeout(PATIENCE_MS)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.url)
        page.locator("input[type=file]").wait_for(state="attached")
        yield Page(page, asked)
        browser.close()


@pytest.fixture(scope="module")
def recordings(laboratory) -> list[Path]:
    """Real recordings where there are any, else clips of the demo."""
    folder = Path(os.environ.get("SER_RECORDINGS") or laboratory.root / "data/demo")
    return [path for path in sorted(folder.glob("CREMA/AudioWAV/*.wav"))[:12] if is_usable(path)]


@pytest.fixture(scope="module")
def recording(recordings) -> Path:
    return recordings[0]


def is_usable(path: Path) -> bool:
    try:
        return bool(len(decode(path).samples))
    except BadAudio:
        return False


def predicted(laboratory: Project, recording: Path, window_seconds: float | None = None) -> pd.DataFrame:
    """What `predict` says of a recording."""
    client = laboratory.client
    version = client.get_model_version_by_alias("ser", "champion")
    folder = Path(client.get_logged_model(version.source.removeprefix("models:/")).artifact_location) / NETWORK_FOLDER
    return predict_files(Predictor.open(folder, window_seconds=window_seconds), [recording])


def assert_same(shown: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert shown["emotion"].tolist() == expected["emotion"].tolist()
    np.testing.assert_allclose(shown[["start", "end"]].astype(float), expected[["start", "end"]], atol=0.006)
    np.testing.assert_allclose(shown[list(EMOTIONS)].astype(float), expected[list(EMOTIONS)], atol=6e-5)


def test_a_recording_is_shown_with_what_predict_says_of_it(laboratory, served, page, recording):
    page.upload(recording)
    expected = predicted(laboratory, recording)
    (emotion,) = expected["emotion"]
    assert page.answer(emotion).endswith(f"{emotion} {expected[emotion].iloc[0]:.1%}")
    assert_same(page.rows(), expected)
    figure = page.page.get_by_alt_text("Waveform and probabilities of each window")
    assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 800
    assert "synthetic data: its answers mean nothing" in page.page.locator(".ser-warning").inner_text()


def test_what_is_listened_to_is_what_the_model_hears(page, recording):
    np.testing.assert_array_equal(decode(sound(page.page, "As the model hears it")).samples, decode(recording).samples)


def test_finer_windows_show_probabilities_over_time(laboratory, page, recordings, tmp_path):
    long = tmp_path / "recording.flac"
    long.write_bytes(encoded(np.concatenate([decode(path).samples for path in recordings])[:80_000], container="FLAC"))
    page.upload(long)
    page.answer("%")
    page.page.get_by_label("1 s", exact=True).check()
    page.answer("5 windows: ")
    assert_same(page.rows(), predicted(laboratory, long, window_seconds=1.0))
    picture(page.page, "try")
    page.page.get_by_label("30 s").check()
    page.answer("%")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("text.wav", b"hello world, this is no audio", "text, not audio"),
        ("<b>cut</b>.wav", encoded(tone())[:30], "unreadable: "),
        ("silence.wav", encoded(np.zeros(16000, dtype=np.float32)), "all zeros"),
        ("nan.wav", encoded(np.full(16000, np.nan), subtype="FLOAT"), "NaN or infinite samples"),
        ("short.wav", encoded(tone(0.05)), "too short: 0.050 s, expected at least 0.1 s"),
        ("long.wav", encoded(tone(MAX_SECONDS + 1, rate=8000), rate=8000), f"too long: more than {MAX_SECONDS} s"),
        ("large.wav", encoded(tone(15.0, rate=48000), rate=48000), "too large: 1,440,044 bytes, expected at most 1 MB"),
    ],
)
def test_a_file_that_cannot_be_used_is_answered_with_the_line_of_predict(page, tmp_path, name, content, line):
    file = tmp_path / name.replace("/", "")
    file.write_bytes(content)
    page.upload(file)
    assert line in page.answer("cannot be used: ")
    assert not page.page.locator(".ser-rows").is_visible()
    assert "Traceback" not in page.page.inner_text("body")


def test_a_clip_is_recorded_and_answered(page):
    page.clear()
    page.page.get_by_label("Record audio").click()
    page.page.get_by_role("button", name="Record", exact=True).click()
    page.page.wait_for_timeout(1500)
    page.page.get_by_role("button", name="Stop", exact=True).first.click()
    page.answer("%")
    assert len(page.rows()) == 1


def test_the_page_asks_nobody_but_this_machine(served, page):
    others = [address for address in page.asked if not address.startswith((served.url, "data:", f"blob:{served.url}"))]
    assert len(page.asked) > 10
    assert others == []
    listening = [connection for connection in psutil.Process(served.process.pid).net_connections() if connection.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    reached = [connection.raddr.ip for connection in psutil.Process(served.process.pid).net_connections() if connection.raddr]
    assert set(reached) <= {"127.0.0.1"}


def test_another_run_may_be_named_and_a_port_that_is_taken_is_refused(laboratory, served):
    run_id = laboratory.client.get_model_version_by_alias("ser", "champion").run_id
    command = laboratory.run("make", "--dry-run", "--old-file", ".venv/complete", "try", f"MODEL={run_id}")
    assert command.split() == ["python", "-m", "pipelines.try_page", "--model_uri", f'"{run_id}"']
    line = laboratory.refuse_here("pipelines.try_page", model_uri=run_id)
    port = served.url.rstrip("/").rpartition(":")[2]
    assert line.startswith(f"error: the page cannot listen on 127.0.0.1, port {port}")


def test_a_page_that_is_stopped_leaves_no_recording_behind(served):
    assert list(served.folder.glob("ser-try-*/**/*.wav"))
    stop(served.process, signal.SIGTERM)
    assert served.process.returncode == 0
    assert [path for path in served.folder.rglob("*") if path.is_file()] == []


def picture(page: "sync_api.Page", name: str) -> None:
    """Take the picture of the docs, if it is asked for: of a synthetic clip only."""
    folder = os.environ.get("SER_PICTURES")
    if folder and "SER_RECORDINGS" not in os.environ:
        page.wait_for_timeout(2000)  # waveforms are drawn
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
