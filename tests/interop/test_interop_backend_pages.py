"""Upstream's npm page in real Chromium with a router and a backend of ours: nothing of upstream's
behind the page.
"""

import json

import pytest

from .conftest import BundleOf, OpenWindow, StartTask

pytestmark = [pytest.mark.interop, pytest.mark.browser]

both_routers = pytest.mark.parametrize("start_router", ["statecore", "node"], indirect=True)


@both_routers
def test_npm_page_passes_our_quiz_sends_a_tip_and_submits(
    start_task: StartTask, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    task = start_task("quiz", bundle=bundle_of("static"))
    window = open_window("ada")

    window.wait_for("agent-id", "onboarding_1")
    window.wait_for("task-data", {"question": "What colour is a clear sky?"})
    window.send("answer", "blue")
    window.wait_for("agent-id", "1")
    window.wait_for("onboarding", False)
    window.wait_for("task-data", {"text": "document 0"})
    window.send("tip", "look twice")
    (tip,) = task.wait_for("metadata", agent="1")["data"].values()
    assert (tip["header"], tip["text"]) == ("a tip", "look twice")
    handed_over = window.submit("label", "Katze 🐈")

    work = {"label": "Katze 🐈"}
    assert json.dumps(work, ensure_ascii=False, separators=(",", ":")) in handed_over
    submission = task.wait_for("submission", agent="1")
    assert submission["data"] == work
    assert submission["status"] == "completed"


def test_npm_page_fails_our_quiz_and_shows_our_reason_also_after_a_reload(
    start_task: StartTask, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    start_task("quiz", bundle=bundle_of("static"))
    window = open_window("bob")

    window.wait_for("agent-id", "onboarding_1")
    window.send("answer", "green")
    for _ in range(2):
        window.wait_for("agent-id", None)
        window.wait_for(
            "failure",
            "You did not pass the introduction to this task, so you cannot work on it.",
        )
        window.page.reload()


def test_npm_pages_of_two_workers_chat_through_our_backend_and_complete(
    start_task: StartTask, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    task = start_task("live", bundle=bundle_of("live"))
    ada, bob = open_window("ada"), open_window("bob")

    for window in (ada, bob):
        window.wait_for("connection", "connected")
        window.wait_for("status", "in task")
    if ada.fact("agent-id") == "2":  # the first seat speaks first
        ada, bob = bob, ada
    lines = ["hello", "hi", "how are you?", "fine 👋"]
    for number, text in enumerate(lines):
        speaker, listener = (ada, bob) if number % 2 == 0 else (bob, ada)
        speaker.send("say", text)
        listener.wait_for("messages", lines[: number + 1])
    for window, rating in ((ada, "good"), (bob, "bad")):
        window.wait_for("task-done", True)
        window.submit("rating", rating)
        submission = task.wait_for("submission", agent=window.fact("agent-id"))
        assert submission["data"] == {"rating": rating}
        assert submission["status"] == "completed"


def test_npm_page_calls_a_procedure_of_our_backend(
    start_task: StartTask, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    task = start_task("remote", bundle=bundle_of("remote"))
    window = open_window("ada")

    window.wait_for("connection", "connected")
    window.wait_for("status", "in task")
    window.send("measure", "two words")
    answer = {"echo": "two words", "length": 9, "words": ["two", "words"], "nothing": None}
    window.wait_for("answer", answer)
    window.submit("rating", "good")

    assert task.wait_for("submission", agent="1")["data"] == {"rating": "good"}
    assert [call["args"] for call in task.so_far("called")] == ['{"text":"two words"}']
