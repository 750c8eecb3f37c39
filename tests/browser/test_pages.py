"""What all pages share: they load whole, fit a phone, and say the same as the engine."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from statecore.status import FINAL_STATES, STATE_OF, State, Status

from .conftest import OpenWindow
from .window import PHONE, Window

pytestmark = pytest.mark.browser


def test_the_index_explains_and_opens_both_tasks(demo: str, open_window: OpenWindow) -> None:
    index = open_window(f"{demo}/")
    expect(index.page.get_by_role("heading", level=1)).to_be_visible()
    for state in State:
        words = state.replace("_", " ")
        expect(index.page.locator(".life b").get_by_text(words, exact=True)).to_be_visible()
    with index.context.expect_page() as opened:
        index.find("open-label").click()
    label = open_window.keep(Window(opened.value))
    label.reaches("onboarding")
    label.page.get_by_role("link", name="statecore, all demos").click()
    expect(label.find("open-chat")).to_be_visible()


@pytest.mark.parametrize("path", ["chat", "label"])
def test_an_address_without_its_slash_and_with_a_worker_leads_there(
    demo: str, open_window: OpenWindow, path: str
) -> None:
    request = open_window(f"{demo}/").page.request
    answer = request.get(f"{demo}/{path}?worker=ann", max_redirects=0)
    assert (answer.status, answer.headers["location"]) == (307, f"{demo}/{path}/?worker=ann")


def test_every_page_has_its_icon(demo: str, open_window: OpenWindow) -> None:
    window = open_window(f"{demo}/")
    for path in ("", "label/"):
        window.page.goto(f"{demo}/{path}")
        href = window.page.locator("link[rel=icon]").evaluate("link => link.href")
        answer = window.page.request.get(href)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_no_page_of_the_chat_is_wider_than_a_phone(demo: str, open_window: OpenWindow) -> None:
    open_window(f"{demo}/", PHONE).fits()
    ann = open_window(f"{demo}/chat/", PHONE)
    ann.reaches("waiting")
    ann.fits()
    bob = open_window(f"{demo}/chat/", PHONE)
    ann.reaches("in_task")
    bob.reaches("in_task")
    # One long word, while it is written and when it is there.
    ann.find("message-input").fill("a" * 200)
    ann.fits()
    ann.find("send").click()
    bob.shows((ann.name, "a" * 200))
    ann.fits()
    bob.fits()
    # The controls can be reached without scrolling the page.
    expect(bob.find("send")).to_be_in_viewport()
    expect(bob.find("finish")).to_be_in_viewport()
    for window in (ann, bob):
        window.find("finish").click()
        window.reaches("completed")
        window.fits()


def test_the_pages_states_are_the_engines(demo: str, open_window: OpenWindow) -> None:
    page = open_window(f"{demo}/").page
    words = page.evaluate("async () => ({...await import('/assets/statuses.js')})")
    assert words["STATE_OF"] == STATE_OF
    assert words["STATES"] == list(State)
    assert set(words["FINAL_STATES"]) == FINAL_STATES
    assert set(words["STATE_SENTENCES"]) == set(State)
    # Every status that ends a seat has words for the worker.
    assert set(words["ENDINGS"]) == {
        status for status in Status if STATE_OF[status] in FINAL_STATES
    }
