"""Two people chat: the whole way, a lost connection, a partner who leaves, a reload, two windows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import OpenWindow
from .line import Line
from .window import Window

pytestmark = pytest.mark.browser


def test_two_people_chat_from_the_index_to_the_end(demo: str, open_window: OpenWindow) -> None:
    index = open_window(f"{demo}/")
    with index.context.expect_page() as opened:
        index.find("open-chat").click()
    ann = open_window.keep(Window(opened.value))
    ann.reaches("waiting")
    expect(ann.find("waiting-room")).to_be_visible()
    expect(ann.find("messages")).to_be_hidden()

    # The waiting room's link opens the partner, in a browser of its own.
    bob = open_window(ann.find("partner-link").input_value())
    assert ann.name != bob.name
    expect(ann.find("topic")).to_be_visible()
    topic = ann.find("topic").inner_text()
    for window, partner in ((ann, bob), (bob, ann)):
        window.reaches("in_task", "in task")
        window.light("up")
        expect(window.find("waiting-room")).to_be_hidden()
        expect(window.page.get_by_text(f"{partner.name} is here.")).to_be_visible()
        expect(window.find("topic")).to_have_text(topic)

    ann.say("Hello! <b>Is</b> anybody here?")
    bob.shows((ann.name, "Hello! <b>Is</b> anybody here?"))
    bob.say("I am.")
    said = ((ann.name, "Hello! <b>Is</b> anybody here?"), (bob.name, "I am."))
    for window in (ann, bob):
        window.shows(*said)

    ann.find("rating-5").check(force=True)  # the star over the radio button takes the click
    ann.find("finish").click()
    ann.reaches("completed", "completed")
    expect(ann.find("ending")).to_contain_text("Handed in. Thank you!")
    expect(bob.page.get_by_text(f"{ann.name} pressed Finish")).to_be_visible()
    bob.reaches("in_task")
    bob.find("finish").click()
    bob.reaches("completed", "completed")
    expect(bob.find("ending")).to_contain_text("Handed in. Thank you!")
    for window in (ann, bob):
        window.light("idle")
        window.shows(*said)
        expect(window.find("message-input")).to_be_hidden()
        expect(window.find("finish")).to_be_hidden()


def test_a_lost_socket_that_comes_back_in_time_loses_nothing(
    demo: str, open_window: OpenWindow, line_of: Callable[[str], Line]
) -> None:
    line = line_of(demo)
    ann, bob = open_window.pair(demo, line.url)
    bob.say("before")
    ann.shows((bob.name, "before"))

    bob.may_lose_the_network = True
    line.cut()
    bob.light("lost")
    expect(bob.find("notice")).to_be_visible()
    bob.say("written without a network")
    bob.say("and one more")
    last = bob.find("messages").get_by_test_id("message").last
    expect(last).to_have_attribute("data-delivery", "sending")
    ann.say("sent while you were away")
    expect(ann.find("messages").get_by_test_id("message")).to_have_count(2)

    line.mend()
    bob.light("up")
    expect(bob.find("notice")).to_be_hidden()
    said = (
        (bob.name, "before"),
        (ann.name, "sent while you were away"),
        (bob.name, "written without a network"),
        (bob.name, "and one more"),
    )
    for window in (ann, bob):
        window.shows(*said)
        window.reaches("in_task", "in task")


def test_a_submission_waits_for_the_network(
    demo: str, open_window: OpenWindow, line_of: Callable[[str], Line]
) -> None:
    line = line_of(demo)
    ann, bob = open_window.pair(demo, line.url)
    bob.may_lose_the_network = True
    line.cut()
    bob.find("finish").click()
    expect(bob.find("notice")).to_contain_text("Not accepted yet")
    expect(bob.find("finish")).to_be_disabled()
    bob.reaches("in_task")
    line.mend()
    bob.reaches("completed", "completed")
    expect(bob.find("notice")).to_be_hidden()
    expect(ann.page.get_by_text(f"{bob.name} pressed Finish")).to_be_visible()


def test_a_partner_is_left_behind_and_hands_in_all_the_same(
    impatient_demo: str, open_window: OpenWindow
) -> None:
    ann, bob = open_window.pair(impatient_demo)
    bob.say("I have to go.")
    ann.shows((bob.name, "I have to go."))
    bob_name = bob.name
    bob.page.close()

    ann.reaches("completed", "partner disconnect")
    expect(ann.find("status")).to_contain_text("One submission is still expected from you")
    expect(ann.find("ending")).to_contain_text("Your partner left")
    expect(ann.find("message-input")).to_be_hidden()
    expect(ann.find("fresh")).to_have_count(0)  # not before the debt is paid
    ann.find("finish").click()
    expect(ann.find("ending")).to_contain_text("Handed in")
    expect(ann.find("finish")).to_be_hidden()
    expect(ann.find("fresh")).to_be_visible()
    ann.shows((bob_name, "I have to go."))


def test_who_is_away_for_too_long_is_told_so(
    impatient_demo: str, open_window: OpenWindow, line_of: Callable[[str], Line]
) -> None:
    line = line_of(impatient_demo)
    ann, bob = open_window.pair(impatient_demo, line.url)
    bob.may_lose_the_network = True
    line.cut()
    bob.light("lost")
    ann.reaches("completed", "partner disconnect")
    line.mend()
    bob.reaches("disconnected", "disconnect")
    expect(bob.find("failure")).to_contain_text("You were disconnected")
    expect(bob.find("finish")).to_be_hidden()


def test_a_reload_brings_the_talk_back(demo: str, open_window: OpenWindow) -> None:
    ann, bob = open_window.pair(demo)
    ann.say("one")
    bob.say("two")
    said = ((ann.name, "one"), (bob.name, "two"))
    bob.shows(*said)
    name = bob.name
    bob.page.reload()
    bob.reaches("in_task", "in task")
    assert bob.name == name
    bob.shows(*said)
    bob.say("three")
    for window in (ann, bob):
        window.shows(*said, (name, "three"))
    # After the end the backend has let go of the talk, and the page still says that it is over.
    bob.find("finish").click()
    bob.reaches("completed", "completed")
    bob.page.reload()
    bob.reaches("completed", "completed")
    expect(bob.find("ending")).to_contain_text("Handed in. Thank you!")
    expect(bob.find("message-input")).to_be_hidden()
    expect(bob.find("messages")).to_be_hidden()
    bob.light("idle")


def test_the_newest_window_of_a_worker_takes_over(demo: str, open_window: OpenWindow) -> None:
    ann, bob = open_window.pair(demo)
    ann.say("before")
    bob.shows((ann.name, "before"))
    second = open_window.keep(Window(bob.context.new_page()))
    second.page.goto(bob.page.url)
    second.reaches("in_task", "in task")
    second.shows((ann.name, "before"))
    bob.light("replaced")
    expect(bob.find("replaced")).to_be_visible()
    expect(bob.find("message-input")).to_be_hidden()
    expect(bob.find("finish")).to_be_hidden()
    second.say("from the new window")
    ann.shows((ann.name, "before"), (second.name, "from the new window"))
    # The replaced window stays as it was, and takes over again only when it is asked to.
    bob.shows((ann.name, "before"))
    bob.find("try-again").click()
    bob.reaches("in_task", "in task")
    bob.shows((ann.name, "before"), (bob.name, "from the new window"))
    second.light("replaced")


def test_the_partners_link_can_be_copied_and_opened(demo: str, open_window: OpenWindow) -> None:
    ann = open_window(f"{demo}/chat/")
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ann.reaches("waiting")
    ann.find("copy").click()
    expect(ann.page.get_by_text("Copied. Paste it into another window.")).to_be_visible()
    link = ann.find("partner-link").input_value()
    assert ann.page.evaluate("navigator.clipboard.readText()") == link
    assert "worker=" not in link
    with ann.context.expect_page() as opened:
        ann.find("open-partner").click()
    bob = open_window.keep(Window(opened.value))
    for window in (ann, bob):
        window.reaches("in_task")
