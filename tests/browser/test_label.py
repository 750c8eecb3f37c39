"""One person labels: the quiz passed and failed, the work, feedback, and all of it by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from statecore.adapters.demo.label import KEY, LABELS

from .conftest import OpenWindow
from .window import PHONE, Look, Window

pytestmark = pytest.mark.browser


def answer(window: Window, answers: dict[str, str]) -> None:
    for question, value in answers.items():
        window.find(f"quiz-{question}-{value}").check()
    window.find("quiz-submit").click()


def messages(window: Window) -> Locator:
    """The three to label; each one's test id is its name."""
    return window.find("work").locator("fieldset")


def test_who_passes_the_quiz_labels_and_gives_feedback(demo: str, open_window: OpenWindow) -> None:
    ann = open_window(f"{demo}/label/")
    ann.reaches("onboarding")
    ann.light("idle")
    expect(ann.find("guideline")).to_contain_text("Say what the writer mainly wants.")
    expect(ann.find("work")).to_be_hidden()
    answer(ann, KEY)
    ann.reaches("in_task")
    expect(ann.find("quiz")).to_be_hidden()
    expect(ann.find("progress")).to_have_text("0 of 3 labelled")

    # Nothing is handed in while a label is missing, and the page says which.
    cards = messages(ann)
    expect(cards).to_have_count(3)
    cards.nth(0).get_by_role("radio").first.check()
    ann.find("submit").click()
    expect(cards.nth(1)).to_contain_text("This message has no label yet.")
    expect(cards.nth(1).get_by_role("radio").first).to_be_focused()
    ann.reaches("in_task")
    for number, label in ((1, LABELS[1]), (2, LABELS[2])):
        name = cards.nth(number).get_attribute("data-testid")
        ann.find(f"{name}-{label}").check()
    expect(ann.find("progress")).to_have_text("3 of 3 labelled")
    ann.find("submit").click()
    ann.reaches("completed", "completed")
    expect(ann.find("ending")).to_contain_text("Handed in. Thank you!")
    expect(ann.find("work")).to_be_hidden()

    ann.find("feedback-text").fill("The second message was hard.")
    ann.find("feedback-send").click()
    expect(ann.find("feedback-thanks")).to_contain_text("your feedback was handed in")
    expect(ann.find("feedback-text")).to_be_hidden()

    # A reload is the same person, and what was handed in is not asked for again.
    ann.page.reload()
    ann.reaches("completed", "completed")
    expect(ann.find("work")).to_be_hidden()
    expect(ann.find("ending")).to_contain_text("Handed in. Thank you!")


def test_who_fails_the_quiz_is_told_why_and_stays_out(demo: str, open_window: OpenWindow) -> None:
    bob = open_window(f"{demo}/label/")
    bob.reaches("onboarding")
    bob.find("quiz-submit").click()  # an empty form is not an attempt
    expect(bob.find("quiz-ask")).to_contain_text("Answer this question too.")
    bob.reaches("onboarding")
    answer(bob, KEY | {"unsure": "skip"})
    bob.reaches("failed")
    expect(bob.find("failure")).to_contain_text("did not pass")
    for control in ("quiz", "work", "feedback"):
        expect(bob.find(control)).to_be_hidden()

    # Asked again, the answer stays the same.
    bob.find("try-again").click()
    bob.reaches("failed")
    expect(bob.find("failure")).to_be_visible()
    # Only somebody else may try.
    name = bob.name
    bob.find("fresh").click()
    bob.reaches("onboarding")
    assert bob.name != name


def test_a_static_page_may_be_closed_and_come_back(demo: str, open_window: OpenWindow) -> None:
    ann = open_window(f"{demo}/label/")
    ann.reaches("onboarding")
    answer(ann, KEY)
    ann.reaches("in_task")
    texts = messages(ann).locator("legend").all_inner_texts()
    url = ann.page.url
    ann.page.close()
    again = open_window(url)
    again.reaches("in_task")
    assert messages(again).locator("legend").all_inner_texts() == texts


def press_until(page: Page, key: str, wanted: Locator, limit: int = 30) -> None:
    """Press a key until the focus is there, as somebody without a mouse does."""
    for _ in range(limit):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{limit} times {key} did not reach {wanted}")


def test_a_keyboard_is_enough(demo: str, open_window: OpenWindow) -> None:
    ann = open_window(f"{demo}/label/")
    page = ann.page
    ann.reaches("onboarding")
    # Tab goes to a question, the arrows choose an answer; in the browser's own way.
    for question, value in KEY.items():
        options = ann.find(f"quiz-{question}").get_by_role("radio")
        press_until(page, "Tab", options.first)
        page.keyboard.press("Space")
        choice = ann.find(f"quiz-{question}-{value}")
        press_until(page, "ArrowDown", choice)
        expect(choice).to_be_checked()
    press_until(page, "Tab", ann.find("quiz-submit"))
    page.keyboard.press("Enter")
    ann.reaches("in_task")

    # The first message has the focus, and a digit labels it and goes on to the next.
    cards = messages(ann)
    expect(cards.first).to_be_focused()
    page.keyboard.press("3")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("1")
    # Arrows do as well.
    expect(cards.nth(2)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    expect(cards.nth(2).get_by_role("radio").nth(1)).to_be_checked()
    press_until(page, "Tab", ann.find("submit"))
    page.keyboard.press("Enter")
    ann.reaches("completed", "completed")

    press_until(page, "Tab", ann.find("feedback-text"))
    page.keyboard.type("By keyboard alone.")
    press_until(page, "Tab", ann.find("feedback-send"))
    page.keyboard.press("Enter")
    expect(ann.find("feedback-thanks")).to_contain_text("your feedback was handed in")


@pytest.mark.parametrize("look", [PHONE, PHONE | {"color_scheme": "dark"}], ids=["light", "dark"])
def test_no_label_page_is_wider_than_a_phone(
    demo: str, open_window: OpenWindow, look: Look
) -> None:
    ann = open_window(f"{demo}/label/", look)
    ann.reaches("onboarding")
    ann.fits()
    answer(ann, KEY)
    ann.reaches("in_task")
    ann.fits()
    for card in messages(ann).all():
        card.get_by_role("radio").first.check()
    ann.find("submit").click()
    ann.reaches("completed")
    ann.fits()
    bob = open_window(f"{demo}/label/", look)
    bob.reaches("onboarding")
    answer(bob, KEY | {"ask": "praise"})
    bob.reaches("failed")
    bob.fits()
