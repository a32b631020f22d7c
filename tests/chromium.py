"""Debian's headless Chromium, for the tests that look at a page as a person does."""

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Nothing is looked up or fetched outside of the machine."""
FETCHED = "async audio => [...new Uint8Array(await (await fetch(audio.src)).arrayBuffer())]"


def player(page: "Page", label: str) -> "Locator":
    """The player of so labelled a sound, once it has loaded it: until then it has no address, and the browser would fetch the page."""
    return page.locator(f"[data-testid^='waveform-{label}'] audio[src^='blob:']")


def sound(page: "Page", label: str) -> bytes:
    """The file that a player plays."""
    return bytes(player(page, label).evaluate(FETCHED))
