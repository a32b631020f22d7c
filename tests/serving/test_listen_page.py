"""The page to listen to the errors, in a real browser: it lists them, filters them, plays them, and shows the model's answer over time.

SER_PICTURES=FOLDER has it pictured.
"""

import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_mlops.data.audio.decode import decode
from tests.chromium import CHROMIUM, FLAGS, NEEDS_CHROMIUM, player, sound
from tests.servers import free_port, opened_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])")
pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed (pip install -e .[try])"),  # importing it takes seconds
]
TRAINED = {"test_dataset": "CREMA", "model": "tiny", "lr": "1e-2", "batch_size": "8", "epochs": "3", "rounds": "2", "freeze": "encoder"}
PATIENCE_MS = 300_000
PLAYED = """(audio, seconds) => new Promise((done) => {
    const started = Date.now();
    const look = () => audio.currentTime > seconds || Date.now() - started > 60000 ? done(audio.currentTime) : setTimeout(look, 50);
    look();
})"""
"""Answers with a player's time once it has played so many seconds; after a minute in any case."""


@pytest.fixture(scope="module")
def clips(project) -> pd.DataFrame:
    """The clips of a finished experiment with their answers, as `errors` logs them; the id of the experiment is in its attributes."""
    run_id = project.opened(project.run_here("pipelines.train", **TRAINED)).info.run_id
    logged = project.opened(project.run_here("pipelines.errors", run_id=run_id))
    clips = pd.read_csv(project.client.download_artifacts(logged.info.run_id, "clips.csv"), keep_default_na=False)
    clips.attrs["run_id"] = run_id
    return clips


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Every address that the browser asked for."""
    return []


@pytest.fixture(scope="module")
def page(project, clips, asked) -> Iterator["sync_api.Page"]:
    project.set(port=str(free_port()))  # of the try page, the first of that name
    port = str(free_port())
    process = project.start("python", "-m", "pipelines.listen", "--run_id", clips.attrs["run_id"], "--port", port)
    address, _ = opened_page(process)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        browser.close()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 0


def listed(page: "sync_api.Page", count: int) -> None:
    """Wait until the page lists so many clips."""
    page.locator("#count").filter(has_text=re.compile(rf"^\s*{count} of ")).wait_for()


def choose(page: "sync_api.Page", label: str, value: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=value, exact=True).click()


def cell_of(page: "sync_api.Page", path: str) -> "sync_api.Locator":
    """The cell of the list that holds a path; a hidden copy of the table, by which Gradio measures columns, has no such role."""
    return page.locator("#clips").get_by_role("gridcell", name=path)


def test_wrong_clips_are_listed_the_surest_first(page, clips):
    wrong = clips[clips["wrong"] > 0].sort_values(["confidence", "path"], ascending=[False, True])
    listed(page, len(wrong))
    cell_of(page, wrong["path"].iloc[0]).wait_for()
    cells = [text.strip() for text in page.locator("#clips").get_by_role("gridcell").all_inner_texts()]
    shown = [text for text in cells if text.endswith(".wav")]
    assert len(shown) >= 3
    assert shown == wrong["path"].tolist()[: len(shown)]


def test_filters_filter(page, clips):
    choose(page, "Clips", "wrong in every round")
    always = clips["wrong"] == 2
    listed(page, always.sum())
    emotion = clips.loc[always, "emotion"].iloc[0]
    choose(page, "Emotion", emotion)
    listed(page, (always & (clips["emotion"] == emotion)).sum())
    choose(page, "Emotion", "any")
    listed(page, always.sum())  # the answer to one choice is awaited before the next: answers may overtake each other
    choose(page, "Clips", "all clips")
    listed(page, len(clips))
    speaker = clips["speaker"].iloc[0]
    choose(page, "Speaker", speaker)
    own = clips["speaker"] == speaker
    listed(page, own.sum())
    choose(page, "Speaker", "any")
    listed(page, len(clips))
    text = clips["text"].iloc[0]
    page.locator("#words textarea, #words input").fill(f"{text} 10")
    listed(page, (clips["path"].str.contains(text) & clips["path"].str.contains("10")).sum())
    page.locator("#words textarea, #words input").fill("")
    listed(page, len(clips))
    choose(page, "Clips", "wrong in any round")
    listed(page, (clips["wrong"] > 0).sum())


@pytest.fixture(scope="module")
def heard(page, clips) -> "pd.Series":
    """The surest mistake, clicked on."""
    first = clips[clips["wrong"] > 0].sort_values(["confidence", "path"], ascending=[False, True]).iloc[0]
    cell_of(page, first["path"]).click()
    page.locator("#answer").filter(has_text="windows").wait_for()
    return first


def test_the_player_plays_the_clip_and_no_other(project, page, heard):
    np.testing.assert_array_equal(decode(sound(page, "The clip")).samples, decode(project.root / "data/demo" / heard["path"]).samples)
    page.get_by_label("Play", exact=True).click()
    assert player(page, "The clip").evaluate(PLAYED, 0.2) > 0.2


def test_the_answer_over_time_and_the_facts_stand_beside_the_player(page, heard):
    facts = page.locator("#facts").inner_text()
    for text in (heard["path"], heard["speaker"], heard["text"], f"wrong in {heard['wrong']} of 2"):
        assert text in facts
    figure = page.get_by_alt_text("Answer over time")
    assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 800
    picture(page, "listen")
    for number in (1, 0):
        page.get_by_label(f"round {number}").check()
        page.get_by_label("whole clip").check()
        page.locator("#answer").filter(has_text=re.compile(rf"{heard[f'answer_{number}']} \d")).wait_for()


def test_the_page_asks_nobody_but_this_machine(page, heard, asked):
    assert len(asked) > 10
    assert [address for address in asked if not re.match(r"(blob:)?http://127\.0\.0\.1[:/]|data:", address)] == []


def test_without_a_run_the_page_is_refused(project):
    assert project.refuse_here("pipelines.listen").startswith("error: run_id is not given, expected the id of a finished experiment")


def picture(page: "sync_api.Page", name: str) -> None:
    """Take the picture of the docs, if it is asked for."""
    if folder := os.environ.get("SER_PICTURES"):
        page.wait_for_timeout(2000)  # waveforms are drawn
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
