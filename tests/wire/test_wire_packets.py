"""PROTOCOL.md section 1: every packet type, who sends it, who gets it, what it carries.

That each packet has its seven keys and numbers for times is checked by ``Packet.read`` at each receipt.
"""

from __future__ import annotations

import time

import pytest

from .peers import Core, Router, details

pytestmark = pytest.mark.anyio

# Section 1, "Statuses on the wire", without "none", which is no status yet.
STATUSES = (
    "accepted",
    "onboarding",
    "waiting",
    "in task",
    "completed",
    "disconnect",
    "timeout",
    "partner disconnect",
    "expired",
    "returned",
    "approved",
    "soft_rejected",
    "rejected",
)
ENDED_BY_THE_CORE = STATUSES[4:]


async def test_alive_of_the_core_opens_the_way_to_it(router: Router) -> None:
    """Section 1, alive, core -> router: what waited for a core is sent then, and not before."""
    response = await router.post("/log_error", {"error_data": {"text": "early"}})
    assert response.status_code == 200
    socket = await router.socket()
    core = await router.core()
    assert (await core.receive("log_error")).data == {"text": "early"}
    await socket.send("heartbeat", "1")
    await socket.receive("update_status")  # it was never taken for the core


async def test_alive_of_a_page_is_answered_with_its_status(router: Router, core: Core) -> None:
    """Section 1, alive, page -> router: it says whose socket this is; nothing goes to the core."""
    await router.register(core, "1")
    await core.status("1", "waiting")
    page = await router.page()
    assert (await page.alive("1")).data == {"status": "waiting"}
    assert await core.came() == []


async def test_register_agent_carries_provider_data_under_the_request_id(
    router: Router, core: Core
) -> None:
    """Section 1, register_agent, router -> core: subject is the request id, which data repeats."""
    asking = router.ask("hit-1-ada", assignment_id="hit-1", provider_type="mock")
    asked = await core.receive("register_agent")
    assert asked.data == {
        "provider_data": {
            "worker_name": "ada",
            "agent_registration_id": "hit-1-ada",
            "assignment_id": "hit-1",
            "provider_type": "mock",
        },
        "request_id": asked.subject_id,
    }
    assert asked.times["client_timestamp"] == 12.5
    await core.answer(asked, "1")
    await asking.response()


async def test_agent_details_finds_its_post_by_the_request_id_in_data(
    router: Router, core: Core
) -> None:
    """Section 1, agent_details, core -> router: the subject is the channel's id, not the request's."""
    first, second = router.ask("hit-ada"), router.ask("hit-bob")
    asked = {}
    for _ in range(2):
        packet = await core.receive("register_agent")
        asked[packet.data["provider_data"]["agent_registration_id"]] = packet
    await core.answer(asked["hit-bob"], "2", init_task_data={"for": "bob"})
    await core.answer(asked["hit-ada"], "1", init_task_data={"for": "ada"})
    assert (await first.details())["init_task_data"] == {"for": "ada"}
    assert (await second.details())["init_task_data"] == {"for": "bob"}


async def test_agent_details_of_a_refusal_has_null_ids_and_a_reason(
    router: Router, core: Core
) -> None:
    """Section 1, agent_details: a refusal reaches the page as it is."""
    asking = router.ask("hit-ada")
    asked = await core.receive("register_agent")
    reason = "You have worked on all available tasks."
    await core.answer(asked, None, failure_reason=reason)
    expected = details(asked.subject_id, None) | {"failure_reason": reason}
    assert await asking.details() == expected


async def test_submit_onboarding_carries_no_used_agent_id(router: Router, core: Core) -> None:
    """Section 1, submit_onboarding: the subject is the onboarding agent, data has a request id."""
    await router.register(core, "onboarding_1")
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"answer": "blue"}, "more": [1]}
    asking = router.start_post("/submit_onboarding", {"provider_data": provider})
    asked = await core.receive("submit_onboarding")
    request_id = asked.data["request_id"]
    assert isinstance(request_id, str)
    assert asked.subject_id == "onboarding_1"
    assert asked.data == {
        "onboarding_data": {"answer": "blue"},
        "more": [1],
        "request_id": request_id,
    }
    await core.answer(asked, "1")
    assert (await asking.details())["agent_id"] == "1"


async def test_submit_unit_carries_the_final_data(router: Router, core: Core) -> None:
    """Section 1, submit_unit: the subject is the agent, data is the page's final_data."""
    await router.register(core, "1")
    body = {"USED_AGENT_ID": "1", "final_data": {"label": 3}, "client_timestamp": 5.25}
    assert (await router.post("/submit_task", body)).status_code == 200
    submitted = await core.receive("submit_unit")
    assert (submitted.subject_id, submitted.data) == ("1", {"label": 3})
    assert submitted.times["client_timestamp"] == 5.25


@pytest.mark.parametrize(
    "metadata",
    [
        {"tips": {"header": "h", "text": "t"}},
        {"feedback": {"data": [{"question": "q", "text": "good"}]}},
    ],
    ids=["tips", "feedback"],
)
async def test_submit_metadata_carries_tips_or_feedback(
    router: Router, core: Core, metadata: dict[str, object]
) -> None:
    """Section 1, submit_metadata: router -> core, the page's metadata as data."""
    await router.register(core, "1")
    body = {"USED_AGENT_ID": "1", "metadata": metadata, "client_timestamp": 5.25}
    assert (await router.post("/submit_metadata", body)).status_code == 200
    assert (await core.receive("submit_metadata")).brief == ("submit_metadata", "1", metadata)


async def test_live_updates_go_both_ways_unchanged(router: Router, core: Core) -> None:
    """Section 1, mephisto_bound_live_update and client_bound_live_update: any object, update_id."""
    page = await router.seated(core, "1")
    there = {"update_id": "u-1", "text": "hello", "list": [1, {"a": None}]}
    await page.send("mephisto_bound_live_update", "1", there, client_timestamp=99.5)
    update = await core.receive("mephisto_bound_live_update")
    assert (update.subject_id, update.data) == ("1", there)
    assert update.times["client_timestamp"] == 99.5
    back = {"update_id": "u-2", "task_data": {"round": 1}}
    await core.send("client_bound_live_update", "1", back, server_timestamp=98.5)
    update = await page.receive("client_bound_live_update")
    assert (update.subject_id, update.data) == ("1", back)
    assert update.times["server_timestamp"] == 98.5


@pytest.mark.parametrize("status", STATUSES)
async def test_every_status_reaches_page_and_poll_as_it_came(
    router: Router, core: Core, status: str
) -> None:
    """Section 1, update_status and return_statuses: the page hears it, the poll repeats it.

    Once the core itself has said how an agent ended, it need not be told any more: such an agent
    may be left out, but is never reported as anything else.
    """
    await router.register(core, "1")
    page = await router.page()
    await page.alive("1")
    await core.status("1", status)
    assert (await page.receive("update_status")).brief == ("update_status", "1", {"status": status})
    reported = await core.poll()
    if status in ENDED_BY_THE_CORE:
        assert reported in ({}, {"1": status})
    else:
        assert reported == {"1": status}


async def test_poll_reports_none_before_the_first_status(router: Router, core: Core) -> None:
    """Section 1, return_statuses: {agent id: status}, "none" while the core has pushed none."""
    assert await core.poll() == {}
    await router.register(core, "1")
    await router.register(core, "2")
    await core.status("2", "in task")
    assert await core.poll() == {"1": "none", "2": "in task"}


async def test_log_error_of_a_page_goes_to_the_core(router: Router, core: Core) -> None:
    """Section 1, log_error, page -> core: anything as data, under the agent's id."""
    page = await router.seated(core, "1")
    await page.send("log_error", "1", {"stack": "TypeError", "line": 3})
    expected = ("log_error", "1", {"stack": "TypeError", "line": 3})
    assert (await core.receive("log_error")).brief == expected
    body = {"USED_AGENT_ID": "1", "error_data": {"stack": "posted"}, "client_timestamp": 1.5}
    assert (await router.post("/log_error", body)).status_code == 200
    assert (await core.receive("log_error")).brief == ("log_error", "1", {"stack": "posted"})


async def test_heartbeat_is_answered_to_the_page_alone(router: Router, core: Core) -> None:
    """Section 1, heartbeat: page -> router -> page, {last_mephisto_ping, status}."""
    page = await router.seated(core, "1")
    await page.send("heartbeat", "1", client_timestamp=7.5)
    answer = await page.receive("heartbeat")
    assert answer.subject_id == "1"
    assert set(answer.data) == {"last_mephisto_ping", "status"}
    assert answer.data["status"] == "in task"
    assert answer.times["client_timestamp"] == 7.5
    assert await core.came() == []


async def test_router_stamps_what_passes(router: Router, core: Core) -> None:
    """Section 1: times are seconds; the router adds when a packet came in and when it went out."""
    page = await router.seated(core, "1")
    before = time.time()
    await page.say({"update_id": "u"})
    times = (await core.receive("mephisto_bound_live_update")).times
    after = time.time()
    arrived, left = times["router_incoming_timestamp"], times["router_outgoing_timestamp"]
    assert arrived is not None
    assert left is not None
    assert before <= arrived <= left <= after


async def test_new_core_database_that_starts_again_at_one_drops_the_old_agent(
    router: Router, core: Core
) -> None:
    """Section 1, end: ids start again at 1 for each new core database; an old "1" must not speak
    for a new "1"."""
    old_page = await router.seated(core, "1")
    await old_page.close()
    old_page = await router.page()
    await old_page.alive("1")
    await core.status("1", "completed")
    await old_page.receive("update_status")

    new_core = await router.core()  # a new run, which knows nothing
    assert (await core.closed())[1] is not None
    await router.register(new_core, "1", "another registration")
    packets, code = await old_page.closed()
    assert (packets, code) == ([], 4009)
    assert await new_core.poll() == {"1": "none"}
    page = await router.page()
    assert (await page.alive("1")).data == {"status": "none"}
    await new_core.status("1", "in task")
    assert (await page.receive("update_status")).data == {"status": "in task"}
