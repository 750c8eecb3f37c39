"""Fixtures: one Chromium, the demo as it is started by hand, windows of it, and a wire to cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chromium import chromium
from interop.processes import Process
from playwright.sync_api import Browser, expect

from .line import Line, line_to
from .window import DESKTOP, Look, Window

PATIENCE_MS = 20_000
LISTENS = "listening on "


class OpenWindow:
    """Opens windows, each of a person of its own, and closes them all at the end."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._windows: list[Window] = []

    def __call__(self, url: str, look: Look = DESKTOP) -> Window:
        return self.keep(Window.open(self._browser, url, look))

    def keep(self, window: Window) -> Window:
        """Close this one too: a window that a page opened."""
        self._windows.append(window)
        return window

    def pair(self, url: str, second_url: str | None = None) -> tuple[Window, Window]:
        """Two people who talk with each other."""
        first = self(f"{url}/chat/")
        first.reaches("waiting")
        second = self(f"{second_url or url}/chat/")
        for window in (first, second):
            window.reaches("in_task")
            window.light("up")
        return first, second

    def close(self) -> None:
        with ExitStack() as closing:  # all of them, also when one has something to complain of
            for window in self._windows:
                closing.callback(window.close)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium; nothing is ever downloaded."""
    expect.set_options(timeout=PATIENCE_MS)
    with chromium(["--force-color-profile=srgb"]) as browser:
        yield browser


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[str]:
    """The demo's URL; at the end it must stop as after Ctrl-C, and have warned of nothing."""
    command = [sys.executable, "-m", "statecore", "demo", "--port", "0", *options]
    log = folder / "demo.log"
    with Process("demo", command, log=log) as process:
        process.wait_for_start(lambda line: line.startswith(LISTENS), "its address")
        yield process.lines[0].removeprefix(LISTENS)
        assert process.terminate() == 0, process.report()
    assert log.read_text(encoding="utf-8") == ""


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo as everybody starts it."""
    with running_demo(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture(scope="package")
def impatient_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo in which who lost the connection is gone at once."""
    with running_demo(tmp_path_factory.mktemp("demo"), "--grace", "0") as url:
        yield url


@pytest.fixture
def open_window(browser: Browser) -> Iterator[OpenWindow]:
    opener = OpenWindow(browser)
    try:
        yield opener
    finally:
        opener.close()


@pytest.fixture
def line_of() -> Iterator[Callable[[str], Line]]:
    """Makes a wire to a demo's URL that can be cut."""
    with ExitStack() as lines:
        yield lambda url: lines.enter_context(line_to(int(url.rpartition(":")[2])))
