"""Upstream's npm page in a real Chromium: bundled, opened, read by test id, clicked."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from .processes import PATIENCE

__all__ = ["NpmPage", "bundle", "write_page"]

PAGES = Path(__file__).resolve().parent / "pages"


def bundle(page: str, modules: Path, target: Path) -> Path:
    """Bundle one page with its npm packages, as a task author's build does."""
    outfile = target / f"{page}.js"
    command: list[str | Path] = [modules / ".bin" / "esbuild", PAGES / f"{page}.jsx"]
    command += ["--bundle", "--jsx=automatic", f"--outfile={outfile}", "--log-level=warning"]
    command += ['--define:process.env.NODE_ENV="production"']
    environment = {**os.environ, "NODE_PATH": str(modules)}
    subprocess.run(command, env=environment, check=True)
    return outfile


def write_page(bundle: Path, mephisto: Path, static: Path) -> None:
    """Fill a router's static folder as upstream's core does, for a backend that is not upstream's."""
    router = mephisto / "abstractions" / "architects" / "router" / "node" / "static"
    provider = mephisto / "abstractions" / "providers" / "mock"
    shutil.copy(router / "index.html", static)
    shutil.copy(provider / "wrap_crowd_source.js", static)
    shutil.copy(bundle, static / "bundle.js")
    config = {"mephisto_task_version": "2.0.3"}
    (static / "task_config.json").write_text(json.dumps(config), encoding="utf-8")


class NpmPage:
    """One worker's window, in a browser context of its own."""

    def __init__(self, browser: Browser, url: str, worker: str) -> None:
        self.errors: list[str] = []
        """What the page threw: a router's answer that the npm page cannot bear shows here."""
        self.page: Page = browser.new_context().new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.route("**/*", _local_only(url))
        self.page.goto(f"{url}/?worker_id={worker}&assignment_id=assignment")

    def wait_for(self, name: str, value: Any) -> None:
        """Wait until the page shows that value for that fact."""
        text = value if isinstance(value, str) else _json(value)
        expect(self.page.get_by_test_id(name)).to_have_text(text, timeout=PATIENCE * 1000)

    def fact(self, name: str) -> str:
        """Return what the page shows now."""
        return self.page.get_by_test_id(name).inner_text()

    def send(self, name: str, text: str) -> None:
        """Type a text into the field of that name and press its button."""
        self.page.get_by_test_id(f"{name}-text").fill(text)
        self.page.get_by_test_id(name).click()

    def submit(self, name: str, text: str) -> str:
        """Send what ends the task; return what the page then hands to the crowd provider."""
        # Dismissed at once: a dialog that comes before the click has settled would never let it.
        self.page.once("dialog", lambda dialog: dialog.dismiss())
        with self.page.expect_event("dialog") as dialog:
            self.send(name, text)
        message: str = dialog.value.message
        return message

    def close(self) -> None:
        """Close the window; a page that threw fails the scenario."""
        self.page.context.close()
        assert self.errors == []


def _local_only(url: str) -> Callable[[Route], None]:
    """Upstream's index.html asks a public server for a style sheet; the tests stay here."""

    def decide(route: Route) -> None:
        if route.request.url.startswith(url):
            route.continue_()
        else:
            route.abort()

    return decide


def _json(value: Any) -> str:
    """Write JSON as JavaScript's JSON.stringify does."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
