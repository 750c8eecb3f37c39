"""One worker's window: what a test may do with it, and what it must never show."""

from __future__ import annotations

import re
from typing import TypedDict

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    expect,
)

__all__ = ["DESKTOP", "PHONE", "Look", "Window"]


class Look(TypedDict, total=False):
    """How a window looks at a page: options of Playwright's ``new_context``."""

    viewport: dict[str, int]
    device_scale_factor: float
    has_touch: bool
    is_mobile: bool
    color_scheme: str


DESKTOP: Look = {"viewport": {"width": 1100, "height": 760}}
PHONE: Look = {
    "viewport": {"width": 360, "height": 640},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


class Window:
    """A page in a browser context of its own, or in a given one."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.may_lose_the_network = False
        """Set it before a line is cut: the browser itself then writes what it could not reach."""
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.errors.append(f"thrown: {error}"))
        page.on("response", self._answered)

    @classmethod
    def open(cls, browser: Browser, url: str, look: Look = DESKTOP) -> Window:
        context = browser.new_context(**look)  # type: ignore[arg-type]  # a TypedDict of ours
        window = cls(context.new_page())
        window.page.goto(url)
        return window

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    @property
    def name(self) -> str:
        """The worker's name, as the page shows it."""
        return self.find("worker-name").inner_text()

    def find(self, test_id: str) -> Locator:
        return self.page.get_by_test_id(test_id)

    def reaches(self, state: str, status: str | None = None) -> None:
        """Wait for a state, and for the wire's status behind it."""
        expect(self.find("state")).to_have_attribute("data-state", state)
        if status is not None:
            expect(self.find("status")).to_have_attribute("data-status", status)

    def light(self, light: str) -> None:
        """Wait for a connection light."""
        expect(self.find("light")).to_have_attribute("data-light", light)

    # The chat ------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.find("message-input").fill(text)
        self.find("send").click()

    def shows(self, *said: tuple[str, str]) -> None:
        """Wait until these messages are here, in this order and no others, each delivered."""
        messages = self.find("messages").get_by_test_id("message")
        expect(messages.locator("p")).to_have_text([text for _, text in said])
        for number, (name, _) in enumerate(said):
            expect(messages.nth(number)).to_have_attribute("data-from", name)
            expect(messages.nth(number)).not_to_have_attribute("data-delivery", re.compile("."))

    # The end -------------------------------------------------------------------------------------

    def fits(self) -> None:
        """Nothing is wider than the screen, so that nobody has to scroll sideways."""
        widths = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1], f"{self.page.url} is {widths[0]} wide on {widths[1]}"

    def close(self) -> None:
        """Close the window; one that wrote an error or got a bad answer fails the test."""
        self.context.close()
        assert self.errors == []

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if self.may_lose_the_network and re.search("net::ERR_|WebSocket connection", message.text):
            return
        self.errors.append(f"{message.type}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.errors.append(f"{response.status}: {response.url}")
