"""The other way round: our backend and its channel at upstream's node router, and at ours.

On Node 19 and later upstream's router sends every packet twice, half a second apart: what our
backend counts once here came twice.
"""

from collections.abc import Callable

import pytest

from .conftest import OpenPage, StartTask
from .processes import Router, Task
from .raw_page import RawPage

pytestmark = pytest.mark.interop

both_routers = pytest.mark.parametrize("start_router", ["statecore", "node"], indirect=True)
node = pytest.mark.parametrize("start_router", ["node"], indirect=True)


@both_routers
def test_our_backend_lets_the_right_answer_in_and_takes_the_submission(
    start_task: StartTask, open_page: OpenPage
) -> None:
    task = start_task("quiz")
    page = open_page("ada")

    details = page.request_agent()
    assert details["agent_id"] == "onboarding_1"
    assert details["init_task_data"] == {"question": "What colour is a clear sky?"}
    assert details["failure_reason"] is None
    details = page.submit_onboarding({"answer": "blue"})
    assert details["agent_id"] == "1"
    assert details["init_task_data"] == {"text": "document 0"}
    work = {"label": "grün 🌿", "numbers": [1, 2.5, None, True], "nested": {"a": {}}}
    page.submit_task(work)

    submission = task.wait_for("submission", agent="1")
    assert submission["worker"] == "ada"
    assert submission["status"] == "completed"
    assert submission["data"] == work


@both_routers
def test_our_backend_refuses_the_wrong_answer_and_says_why(
    start_task: StartTask, open_page: OpenPage
) -> None:
    task = start_task("quiz")
    page = open_page("bob")

    assert page.request_agent()["agent_id"] == "onboarding_1"
    failed = page.submit_onboarding({"answer": "green"})
    again = page.request_agent()

    for details in (failed, again):
        assert details["agent_id"] is None
        assert details["init_task_data"] is None
        assert "did not pass the introduction" in details["failure_reason"]
    assert len(task.so_far("judged")) == 1


@both_routers
def test_two_workers_talk_through_our_backend_and_complete(
    start_task: StartTask, open_page: OpenPage
) -> None:
    task = start_task("live")
    ada, bob = meet(open_page)
    say_and_hear(task, ada, bob, "hello")
    say_and_hear(task, bob, ada, "hi 👋")

    # A reload in the middle: the same agent, with what it was sent.
    bob.disconnect()
    reloaded = open_page("bob")
    details = reloaded.request_agent()
    reloaded.connect()
    assert reloaded.agent_id == bob.agent_id
    assert details["init_task_data"]["topic"] == "topic 0"
    past = details["init_task_data"]["past_live_updates"]
    assert [update["text"] for update in past] == ["hello"]
    reloaded.wait_for_status("in task")

    say_and_hear(task, ada, reloaded, "still there?")
    say_and_hear(task, reloaded, ada, "yes")
    for page in (ada, reloaded):
        page.wait_for_update(task_done=True)
        page.submit_task({"rating": page.worker})
        submission = task.wait_for("submission", agent=page.agent_id)
        assert submission["data"] == {"rating": page.worker}
        assert submission["status"] == "completed"


@node
def test_our_backend_counts_once_what_the_node_router_sends_twice(
    start_task: StartTask, open_page: OpenPage
) -> None:
    task = start_task("live")
    ada, bob = meet(open_page)
    say_and_hear(task, ada, bob, "hello")
    task.wait_for_count("received", 2, packet_type="mephisto_bound_live_update")
    tip = {"tips": {"header": "a tip", "text": "look twice"}}
    ada.submit_metadata(tip)
    task.wait_for_count("received", 2, packet_type="submit_metadata")
    ada.submit_task({"rating": "good"})
    task.wait_for_count("received", 2, packet_type="submit_unit")
    # Said again on purpose: another time, so it counts.
    bob.submit_metadata(tip)
    task.wait_for_count("received", 4, packet_type="submit_metadata")

    assert [(event["agent"], event["text"]) for event in task.so_far("heard")] == [
        (ada.agent_id, "hello")
    ]
    assert [(event["agent"], event["data"]) for event in task.so_far("metadata")] == [
        (ada.agent_id, tip),
        (bob.agent_id, tip),
    ]
    assert [event["agent"] for event in task.so_far("submission")] == [ada.agent_id]
    repeats = [event["label"] for event in task.so_far("counted", name="repeated")]
    assert sorted(repeats) == [
        "mephisto_bound_live_update",
        "submit_metadata",
        "submit_metadata",
        "submit_unit",
    ]
    # Registered twice as well, and one agent each.
    assert len(task.so_far("received", packet_type="register_agent")) == 4
    assert {ada.agent_id, bob.agent_id} == {"1", "2"}


@both_routers
def test_our_backend_comes_back_to_a_restarted_router_with_what_it_kept(
    start_router: Callable[[], Router],
    router: Router,
    start_task: StartTask,
    open_page: OpenPage,
) -> None:
    task = start_task("live", connections=2)
    ada, bob = meet(open_page)
    say_and_hear(task, ada, bob, "hello")

    router.terminate()
    task.wait_for("lost")
    task.send("said while the router was away")
    start_router()
    task.wait_for_count("connected", 2)
    for page in (ada, bob):
        page.disconnect()
        page.packets.clear()
        page.connect()

    for page in (ada, bob):
        page.wait_for_update(text="said while the router was away")
        page.wait_for_status("in task")
    say_and_hear(task, bob, ada, "hi again")
    bob.submit_task({"rating": "good"})
    submission = task.wait_for("submission", agent=bob.agent_id)
    assert submission["data"] == {"rating": "good"}


@both_routers
def test_a_page_calls_a_procedure_of_our_backend(
    start_task: StartTask, open_page: OpenPage
) -> None:
    task = start_task("remote")
    page = open_page("ada")

    page.request_agent()
    page.connect()
    page.wait_for_status("in task")
    page.say({"request_id": "r1", "target": "measure", "args": '{"text": "two words"}'})
    answer = page.wait_for_update(handles="r1")["response"]
    page.submit_task({"answer": answer})

    expected = '{"echo": "two words", "length": 9, "words": ["two", "words"], "nothing": null}'
    assert answer == expected
    assert task.wait_for("submission", agent="1")["data"] == {"answer": expected}


def meet(open_page: OpenPage) -> tuple[RawPage, RawPage]:
    """Let two workers in, until their task has started."""
    ada, bob = open_page("ada"), open_page("bob")
    for page in (ada, bob):
        assert page.request_agent()["init_task_data"]["topic"] == "topic 0"
        page.connect()
    for page in (ada, bob):
        page.wait_for_status("in task")
    return ada, bob


def say_and_hear(task: Task, speaker: RawPage, listener: RawPage, text: str) -> None:
    """One turn: the task hears it once, and the other page gets it."""
    speaker.say({"text": text})
    assert listener.wait_for_update(text=text)["id"] == speaker.agent_id
    assert len(task.so_far("heard", text=text)) == 1
