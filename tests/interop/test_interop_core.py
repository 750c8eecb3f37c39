"""The real core at one end, plain Python pages at the other, the router between them.

Where upstream's node router keeps the promise too, the scenario runs through it as well: that
proves the scenario. Where it does not (README.md says why), it runs through ours alone.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import OpenPage, StartCore
from .processes import Router, forget_uploads
from .raw_page import RawPage

pytestmark = pytest.mark.interop

both_routers = pytest.mark.parametrize("start_router", ["statecore", "node"], indirect=True)
impatient = pytest.mark.parametrize("start_router", ["statecore --grace 1"], indirect=True)


@both_routers
def test_quiz_pass_leads_to_a_unit_and_its_submission_is_stored(
    start_core: StartCore, open_page: OpenPage
) -> None:
    core = start_core("quiz")
    page = open_page("ada")

    details = page.request_agent()
    assert details["agent_id"] == "onboarding_1"
    assert details["init_task_data"] == {"question": "What colour is a clear sky?"}
    assert details["failure_reason"] is None
    details = page.submit_onboarding({"answer": "blue"})
    assert details["agent_id"] == "1"
    assert details["init_task_data"] == {"text": "document 0"}
    submission = {"label": "grün 🌿", "numbers": [1, 2.5, None, True], "nested": {"a": {}}}
    page.submit_task(submission)

    completed = core.wait_for("unit_completed", agent="1")
    assert completed["status"] == "completed"
    assert completed["data"] == {"inputs": {"text": "document 0"}, "outputs": submission}
    statuses = [event["status"] for event in core.so_far("status", agent="1")]
    assert statuses == ["accepted", "in task", "completed"]


@both_routers
def test_quiz_fail_is_told_and_stays_failed(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("quiz")
    page = open_page("bob")

    assert page.request_agent()["agent_id"] == "onboarding_1"
    failed = page.submit_onboarding({"answer": "green"})
    again = page.request_agent()

    for details in (failed, again):
        assert details["agent_id"] is None
        assert details["init_task_data"] is None
        assert "not currently qualified" in details["failure_reason"]
    core.wait_for("status", agent="onboarding_1", status="rejected")
    assert core.so_far("unit_completed") == []


@both_routers
def test_live_two_workers_talk_in_turns_and_complete(
    start_core: StartCore, open_page: OpenPage
) -> None:
    core = start_core("live")
    ada, bob = open_page("ada"), open_page("bob")

    for page in (ada, bob):
        assert page.request_agent()["init_task_data"]["task_data"] == {"topic": "topic 0"}
        page.connect()
    for page in (ada, bob):
        page.wait_for_status("in task")
    talk(ada, bob)
    for page in (ada, bob):
        page.wait_for_update(task_done=True)
        page.submit_task({"rating": page.worker})

    for page in (ada, bob):
        completed = core.wait_for("unit_completed", agent=page.agent_id)
        assert completed["status"] == "completed"
        assert completed["data"]["final_submission"] == {"rating": page.worker}
        said = [message["text"] for message in completed["data"]["messages"]]
        assert said == [*CONVERSATION, ""]


CONVERSATION = ["hello", "hi", "how are you?", "well — und dir? 👋"]


def talk(first: RawPage, second: RawPage) -> None:
    """Say the lines in turns, each after having heard the one before."""
    for number, text in enumerate(CONVERSATION):
        speaker, listener = (first, second) if number % 2 == 0 else (second, first)
        speaker.say({"text": text})
        assert listener.wait_for_update(text=text)["id"] == speaker.agent_id


@both_routers
def test_remote_procedure_answers_with_every_json_type(
    start_core: StartCore, open_page: OpenPage
) -> None:
    core = start_core("remote")
    page = open_page("ada")

    page.request_agent()
    page.connect()
    page.wait_for_status("in task")
    page.say({"request_id": "r1", "target": "measure", "args": '{"text": "two words"}'})
    answer = page.wait_for_update(handles="r1")["response"]
    page.submit_task({"answer": answer})

    expected = (
        '{"echo": "two words", "length": 9, "ratio": 0.5, "empty": false, '
        '"words": ["two", "words"], "nothing": null}'
    )
    assert answer == expected
    completed = core.wait_for("unit_completed", agent=page.agent_id)
    assert completed["status"] == "completed"
    assert completed["data"]["final_submission"] == {"answer": expected}


@both_routers
def test_a_reload_gets_the_same_agent_and_its_history(
    start_core: StartCore, open_page: OpenPage
) -> None:
    core = start_core("live")
    ada, bob = open_page("ada"), open_page("bob")
    for page in (ada, bob):
        page.request_agent()
        page.connect()
    for page in (ada, bob):
        page.wait_for_status("in task")
    ada.say({"text": "hello"})
    bob.wait_for_update(text="hello")

    ada.disconnect()
    again = open_page("ada")
    details = again.request_agent()
    again.connect()

    assert again.agent_id == ada.agent_id
    history = details["init_task_data"]["past_live_updates"]
    assert [message["text"] for message in history] == ["hello"]
    again.wait_for_status("in task")
    bob.say({"text": "hi"})
    again.wait_for_update(text="hi")
    assert len(core.so_far("received", packet_type="register_agent")) >= 3


@both_routers
def test_version_mismatch_is_logged_at_the_core(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("static")
    page = open_page("ada")

    assert page.task_config("1.0.0") == {"mephisto_task_version": "2.0.3"}
    logged = core.wait_for("received", packet_type="log_error")

    assert logged["subject_id"] == "mephisto"
    assert logged["data"]["error_type"] == "version-mismatch"
    assert "1.0.0" in logged["data"]["text"]
    assert "2.0.3" in logged["data"]["text"]


@both_routers
def test_an_error_of_the_page_reaches_the_core(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("static")
    page = open_page("ada")
    # The version that the core expects: this one must not be logged.
    page.task_config("2.0.3")
    page.request_agent()

    page.log_error({"text": "undefined is not a function"})

    logged = core.wait_for("received", packet_type="log_error")
    assert logged["subject_id"] == page.agent_id
    assert logged["data"] == {"text": "undefined is not a function"}


@both_routers
def test_an_uploaded_file_arrives_byte_for_byte(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("static")
    page = open_page("ada")
    page.request_agent()
    content = bytes(range(256)) * 200

    page.upload_task({"label": "with files"}, {"a b.png": content, "empty.txt": b""})

    completed = core.wait_for("unit_completed", agent=page.agent_id)
    assert completed["status"] == "completed"
    outputs = completed["data"]["outputs"]
    assert outputs["label"] == "with files"
    stored = [Path(completed["folder"], name).read_bytes() for name in outputs["files"]]
    assert stored == [content, b""]
    assert page.download(outputs["files"][0]) == content
    forget_uploads(outputs["files"])


def test_metadata_is_stored_once(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("static")
    page = open_page("ada")
    page.request_agent()

    page.submit_metadata({"tips": {"type": "tips", "header": "a tip", "text": "look twice"}})
    core.wait_for("received", packet_type="submit_metadata")
    page.submit_task({"label": "cat"})

    completed = core.wait_for("unit_completed", agent=page.agent_id)
    metadata = json.loads(Path(completed["folder"], "agent_meta.json").read_text())
    assert [(tip["header"], tip["text"]) for tip in metadata["tips"]] == [("a tip", "look twice")]


def test_every_packet_reaches_the_core_once(start_core: StartCore, open_page: OpenPage) -> None:
    core = start_core("live")
    ada, bob = open_page("ada"), open_page("bob")
    for page in (ada, bob):
        page.request_agent()
        page.connect()
    for page in (ada, bob):
        page.wait_for_status("in task")
    talk(ada, bob)
    for page in (ada, bob):
        page.wait_for_update(task_done=True)
        page.submit_task({"rating": page.worker})
    for page in (ada, bob):
        core.wait_for("unit_completed", agent=page.agent_id)

    def came(packet_type: str) -> list[str]:
        return [event["subject_id"] for event in core.so_far("received", packet_type=packet_type)]

    assert len(came("register_agent")) == 2
    assert came("mephisto_bound_live_update") == [ada.agent_id, bob.agent_id] * 2
    assert sorted(came("submit_unit")) == sorted([ada.agent_id, bob.agent_id])


@impatient
def test_a_partner_who_leaves_completes_the_other(
    start_core: StartCore, open_page: OpenPage
) -> None:
    core = start_core("live", "--poll", "0.5")
    ada, bob = open_page("ada"), open_page("bob")
    for page in (ada, bob):
        page.request_agent()
        page.connect()
    for page in (ada, bob):
        page.wait_for_status("in task")

    ada.disconnect()
    core.wait_for("status", agent=ada.agent_id, status="disconnect")
    bob.wait_for_status("partner disconnect")
    bob.submit_task({"rating": "left alone"})

    completed = core.wait_for("unit_completed", agent=bob.agent_id)
    assert completed["data"]["final_submission"] == {"rating": "left alone"}


def test_a_restarted_router_takes_the_submission(
    start_router: Callable[[], Router],
    router: Router,
    start_core: StartCore,
    open_page: OpenPage,
) -> None:
    core = start_core("static", "--poll", "0.5", connections=2)
    page = open_page("ada")
    page.request_agent()
    core.wait_for("status", agent=page.agent_id, status="in task")

    assert router.terminate() == 0
    start_router()
    core.wait_for_count("connected", 2)
    page.submit_task({"label": "survived"})

    completed = core.wait_for("unit_completed", agent=page.agent_id)
    assert completed["data"]["outputs"] == {"label": "survived"}
