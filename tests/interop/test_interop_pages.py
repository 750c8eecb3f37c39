"""Upstream's npm page in real Chromium, the real core, and the router between them.

Only the static scenarios run through upstream's node router too. It loses every page whose `alive`
has no subject_id, and on a busy machine that is one in a few.
"""

import json
from pathlib import Path

import pytest

from .conftest import BundleOf, OpenWindow, StartCore
from .processes import forget_uploads

pytestmark = [pytest.mark.interop, pytest.mark.browser]

both_routers = pytest.mark.parametrize("start_router", ["statecore", "node"], indirect=True)
impatient = pytest.mark.parametrize("start_router", ["statecore --grace 1"], indirect=True)


@both_routers
def test_npm_page_passes_the_quiz_and_submits(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    core = start_core("quiz", "--bundle", bundle_of("static"))
    window = open_window("ada")

    window.wait_for("onboarding", True)
    window.wait_for("agent-id", "onboarding_1")
    window.wait_for("task-data", {"question": "What colour is a clear sky?"})
    window.send("answer", "blue")
    window.wait_for("agent-id", "1")
    window.wait_for("onboarding", False)
    window.wait_for("task-data", {"text": "document 0"})
    handed_over = window.submit("label", "Katze 🐈")

    assert (
        json.dumps({"label": "Katze 🐈"}, ensure_ascii=False, separators=(",", ":")) in handed_over
    )
    completed = core.wait_for("unit_completed", agent="1")
    assert completed["data"]["outputs"] == {"label": "Katze 🐈"}


@both_routers
def test_npm_page_fails_the_quiz_and_shows_why_also_after_a_reload(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    start_core("quiz", "--bundle", bundle_of("static"))
    window = open_window("bob")

    window.wait_for("agent-id", "onboarding_1")
    window.send("answer", "green")
    for _ in range(2):
        window.wait_for("agent-id", None)
        window.wait_for("failure", "You are not currently qualified to work on this task...")
        window.page.reload()


def test_npm_pages_of_two_workers_chat_and_complete(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    core = start_core("live", "--bundle", bundle_of("live"))
    ada, bob = open_window("ada"), open_window("bob")

    for window in (ada, bob):
        window.wait_for("connection", "connected")
        window.wait_for("status", "in task")
    lines = ["hello", "hi", "how are you?", "fine 👋"]
    for number, text in enumerate(lines):
        speaker, listener = (ada, bob) if number % 2 == 0 else (bob, ada)
        speaker.send("say", text)
        listener.wait_for("messages", lines[: number + 1])
    for window, rating in ((ada, "good"), (bob, "bad")):
        window.wait_for("task-done", True)
        window.submit("rating", rating)

    for window, rating in ((ada, "good"), (bob, "bad")):
        completed = core.wait_for("unit_completed", agent=window.fact("agent-id"))
        assert completed["status"] == "completed"
        assert completed["data"]["final_submission"] == {"rating": rating}


def test_npm_page_calls_a_remote_procedure(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    core = start_core("remote", "--bundle", bundle_of("remote"))
    window = open_window("ada")

    window.wait_for("connection", "connected")
    window.wait_for("status", "in task")
    window.send("measure", "two words")
    answer = {
        "echo": "two words",
        "length": 9,
        "ratio": 0.5,
        "empty": False,
        "words": ["two", "words"],
        "nothing": None,
    }
    window.wait_for("answer", answer)
    window.submit("rating", "good")

    completed = core.wait_for("unit_completed", agent=window.fact("agent-id"))
    assert completed["data"]["final_submission"] == {"rating": "good"}


def test_npm_page_that_reloads_keeps_its_agent_and_reads_the_history(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    start_core("live", "--bundle", bundle_of("live"))
    ada, bob = open_window("ada"), open_window("bob")
    for window in (ada, bob):
        window.wait_for("connection", "connected")
        window.wait_for("status", "in task")
    agent_id = bob.fact("agent-id")
    ada.send("say", "hello")
    bob.wait_for("messages", ["hello"])

    bob.page.reload()

    bob.wait_for("agent-id", agent_id)
    bob.wait_for("messages", ["hello"])
    bob.wait_for("status", "in task")
    bob.send("say", "hi again")
    ada.wait_for("messages", ["hello", "hi again"])


@both_routers
def test_npm_page_uploads_a_file(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow, tmp_path: Path
) -> None:
    core = start_core("static", "--bundle", bundle_of("static"))
    window = open_window("ada")
    attachment = tmp_path / "größe 1.bin"
    attachment.write_bytes(bytes(range(256)) * 100)

    window.wait_for("agent-id", "1")
    window.page.get_by_test_id("upload").set_input_files(attachment)
    window.wait_for("outcome", {"upload": 200})

    completed = core.wait_for("unit_completed", agent="1")
    outputs = completed["data"]["outputs"]
    assert outputs["label"] == "with files"
    (name,) = outputs["files"]
    assert Path(completed["folder"], name).read_bytes() == attachment.read_bytes()
    forget_uploads([name])


def test_npm_page_sends_a_tip_and_an_error_once_each(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    core = start_core("static", "--bundle", bundle_of("static"))
    window = open_window("ada")

    window.wait_for("agent-id", "1")
    window.send("tip", "look twice")
    core.wait_for("received", packet_type="submit_metadata")
    window.send("error", "it broke")
    error = core.wait_for("received", packet_type="log_error", subject_id="1")
    window.submit("label", "cat")

    assert error["data"] == {"text": "it broke"}
    completed = core.wait_for("unit_completed", agent="1")
    metadata = json.loads(Path(completed["folder"], "agent_meta.json").read_text())
    assert [(tip["header"], tip["text"]) for tip in metadata["tips"]] == [("a tip", "look twice")]
    assert len(core.so_far("received", packet_type="log_error", subject_id="1")) == 1


@impatient
def test_npm_page_whose_partner_closes_the_window_is_asked_to_submit(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    core = start_core("live", "--poll", "0.5", "--bundle", bundle_of("live"))
    ada, bob = open_window("ada"), open_window("bob")
    for window in (ada, bob):
        window.wait_for("connection", "connected")
        window.wait_for("status", "in task")
    left_behind = bob.fact("agent-id")

    ada.page.close()
    bob.wait_for("status", "partner disconnect")
    bob.submit("rating", "left alone")

    completed = core.wait_for("unit_completed", agent=left_behind)
    assert completed["data"]["final_submission"] == {"rating": "left alone"}


def test_npm_page_shows_each_status_once_and_in_order(
    start_core: StartCore, bundle_of: BundleOf, open_window: OpenWindow
) -> None:
    start_core("live", "--bundle", bundle_of("live"))
    ada = open_window("ada")
    ada.wait_for("connection", "connected")
    ada.wait_for("status", "waiting")
    bob = open_window("bob")
    for window in (ada, bob):
        window.wait_for("status", "in task")

    # Each alive is answered with the current status: one may repeat, none may come after a later.
    # The first is "none" when the page's alive was faster than the core's first push.
    order = ["none", "waiting", "in task"]
    for window in (ada, bob):
        shown = json.loads(window.fact("statuses"))
        assert shown == sorted(shown, key=order.index)
