"""The system's Chromium, by any of the names that it has; nothing is ever downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

__all__ = ["FLAGS", "NAMES", "chromium", "find_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What is looked for, in this order; ``.ci/programs`` looks for the same."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium(path: str | None = None) -> str:
    """Where the program is, among the folders of ``path`` or of PATH."""
    found = next(filter(None, (shutil.which(name, path=path) for name in NAMES)), None)
    assert found is not None, (
        f"none of {', '.join(NAMES)} is on PATH (Debian and Ubuntu: apt-get install chromium)"
    )
    return found


@contextmanager
def chromium(flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Run it without a window, with these flags besides its usual ones."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), headless=True, args=[*FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            browser.close()
