"""The README's picture of the demo, taken from the demo itself.

An ordinary run takes it too, and looks at it, but leaves the tracked file alone: pictures of two
machines differ by their fonts. ``make screenshot`` writes the file.
"""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .conftest import OpenWindow, running_demo
from .window import Look, Window

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
TRACKED = ROOT / "docs" / "images" / "demo-chat.png"
WANTED = "STATECORE_SCREENSHOT"
LARGEST = 300_000  # bytes: a README is read on phones too

# Two of them and the frame are as wide as a README; twice the dots, for sharp letters.
LOOK: Look = {
    "viewport": {"width": 488, "height": 724},
    "device_scale_factor": 2,
    "color_scheme": "light",
}
FRAME = """
<!doctype html>
<style>
  body { margin: 0; display: flex; gap: 20px; }
  img { display: block; width: 488px; /* dot for dot */ border: 1px solid #84898c; border-radius: 12px; }
</style>
"""


def test_the_readmes_picture(browser: Browser, open_window: OpenWindow, tmp_path: Path) -> None:
    with running_demo(tmp_path) as url:  # one of its own, so that the talk is about its topic
        ann = open_window(f"{url}/chat/?worker=calm-otter-407", LOOK)
        ann.reaches("waiting")
        bob = open_window(f"{url}/chat/?worker=brave-lynx-212", LOOK)
        for window in (ann, bob):
            window.reaches("in_task")
            window.light("up")
        expect(ann.find("topic")).to_contain_text("What did you learn lately")
        talk = (
            (ann, "That an octopus has three hearts."),
            (bob, "That honey never goes bad."),
            (ann, "Mine would not make it to Sunday."),
        )
        for number, (window, text) in enumerate(talk, 1):
            window.say(text)
            for reader in (ann, bob):
                reader.shows(*((other.name, said) for other, said in talk[:number]))
        bob.find("rating-5").check(force=True)  # the star over the radio button takes the click
        bob.find("finish").click()
        bob.reaches("completed", "completed")
        bob.light("idle")
        expect(ann.page.get_by_text("pressed Finish")).to_be_visible()
        picture = side_by_side(browser, ann, bob)
        open_window.close()

    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) == (2000, 1452)
    path = ROOT / os.environ[WANTED] if WANTED in os.environ else tmp_path / "picture.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)


def test_the_tracked_picture_is_there_and_small() -> None:
    picture = TRACKED.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= LARGEST
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"({TRACKED.relative_to(ROOT)})" in readme


def side_by_side(browser: Browser, *windows: Window) -> bytes:
    """One picture of several windows, with nothing between and around them."""
    shots = (
        base64.b64encode(window.page.screenshot(animations="disabled", caret="hide")).decode()
        for window in windows
    )
    images = "".join(f'<img alt="" src="data:image/png;base64,{shot}">' for shot in shots)
    page = browser.new_page(
        viewport={"width": 1000, "height": 726}, device_scale_factor=2, color_scheme="light"
    )
    page.set_content(FRAME + images)
    picture = page.screenshot(omit_background=True)
    page.close()
    return picture
