"""PROTOCOL.md section 3: the core's statuses and its poll, and submissions, which come in any state."""

from __future__ import annotations

import pytest

from .peers import Core, Router
from .servers import with_options

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def test_statuses_may_skip_steps(router: Router, core: Core) -> None:
    """Section 3: its pushes are read late and dropped while its socket is closed."""
    await router.register(core, "1")
    page = await router.page()
    await page.alive("1")
    for status in ("completed", "approved"):
        await core.status("1", status)
        assert (await page.receive("update_status")).data == {"status": status}


@pytest.mark.parametrize("status", ["none", "waiting", "timeout", "expired", "disconnect"])
async def test_submission_is_forwarded_in_any_state(
    router: Router, core: Core, status: str
) -> None:
    """Section 3: a submission is stored in any state, so it is forwarded in any."""
    await router.register(core, "1")
    await core.status("1", status)
    await core.poll()
    response = await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {"a": 1}})
    assert response.status_code == 200
    assert (await core.receive("submit_unit")).brief == ("submit_unit", "1", {"a": 1})


async def test_submission_is_asked_for_after_the_partner_left(router: Router, core: Core) -> None:
    """Section 3: after "partner disconnect" the core waits for that agent's submission."""
    page = await router.seated(core, "1")
    await core.status("1", "partner disconnect")
    assert (await page.receive("update_status")).data == {"status": "partner disconnect"}
    for _ in range(2):
        body = {"USED_AGENT_ID": "1", "final_data": {"messages": []}}
        assert (await router.post("/submit_task", body)).status_code == 200
    assert [p.packet_type for p in await core.came()] == ["submit_unit"]


async def test_repeated_submission_is_answered_and_not_forwarded(
    router: Router, core: Core
) -> None:
    """Section 3: submit_unit is stored once per agent; the page may post it twice."""
    await router.register(core, "1")
    body = {"USED_AGENT_ID": "1", "final_data": {"a": 1}}
    for _ in range(3):
        assert (await router.post("/submit_task", body)).status_code == 200
    assert [p.packet_type for p in await core.came()] == ["submit_unit"]


async def test_metadata_is_forwarded_after_the_end(router: Router, core: Core) -> None:
    """Section 3: submit_metadata twice means stored twice; each one that is posted is forwarded."""
    await router.register(core, "1")
    await core.status("1", "completed")
    body = {"USED_AGENT_ID": "1", "metadata": {"feedback": {"data": []}}}
    for _ in range(2):
        assert (await router.post("/submit_metadata", body)).status_code == 200
    assert [p.packet_type for p in await core.came()] == ["submit_metadata", "submit_metadata"]


async def test_news_for_an_agent_without_a_socket_is_kept_in_order(
    router: Router, core: Core
) -> None:
    """Section 3: statuses and updates for an agent without a socket are normal; keep them."""
    await router.register(core, "1")
    await core.status("1", "waiting")
    await core.say("1", {"update_id": "0"})
    await core.status("1", "in task")
    for number in range(1, 5):
        await core.say("1", {"update_id": str(number)})
    await core.poll()
    page = await router.page()
    await page.hello("1")
    got = [(p.packet_type, p.data) for p in await page.came()]
    assert [data for kind, data in got if kind == "client_bound_live_update"] == [
        {"update_id": str(number)} for number in range(5)
    ]
    assert [data for kind, data in got if kind == "update_status"] == [{"status": "in task"}]
    # The status comes after what was sent before it, and before what was sent after it.
    assert [kind for kind, _ in got].index("update_status") == 1


@with_options(mailbox_packets=10)
async def test_what_is_kept_for_an_agent_without_a_socket_is_bounded(
    router: Router, core: Core
) -> None:
    """Section 3: bounded, because static pages never open a socket; the newest are kept."""
    await router.register(core, "1")
    for number in range(50):
        await core.say("1", {"update_id": number})
    await core.poll()
    page = await router.page()
    await page.hello("1")
    updates = [p.data["update_id"] for p in await page.came() if "update_id" in p.data]
    assert 0 < len(updates) <= 10
    assert updates == list(range(50 - len(updates), 50))


# The poll --------------------------------------------------------------------------------------


async def test_restarted_router_reports_none_and_hears_the_status(
    router: Router, core: Core
) -> None:
    """Section 3: "none" after a router restart heals within a poll: the core pushes its status."""
    page = await router.page()
    assert (await page.alive("17")).data == {"status": "none"}
    await page.say({"update_id": "early"})
    assert await page.came() == []
    assert await core.poll() == {"17": "none"}
    await core.status("17", "in task")
    assert (await page.receive("update_status")).data == {"status": "in task"}
    assert (await core.receive("mephisto_bound_live_update")).brief == (
        "mephisto_bound_live_update",
        "17",
        {"update_id": "early"},
    )
    assert await core.poll() == {"17": "in task"}


async def test_submission_to_a_restarted_router_is_forwarded(router: Router, core: Core) -> None:
    """Section 3: the same for a static page. Its POST waits until the core has spoken of its agent,
    because upstream's core closes its connection on a packet about an agent that it has not."""
    posting = router.start_post("/submit_task", {"USED_AGENT_ID": "17", "final_data": {"a": 1}})
    assert await core.came() == []
    assert await core.came() == []
    assert await core.poll() == {"17": "none"}
    assert not posting.is_answered
    await core.status("17", "in task")
    assert (await core.receive("submit_unit")).brief == ("submit_unit", "17", {"a": 1})
    assert (await posting.response()).status_code == 200


async def test_submission_of_an_agent_that_the_core_does_not_know_is_refused(
    router: Router, core: Core
) -> None:
    """Section 3: nothing about it ever reaches the core."""
    posting = router.start_post("/submit_task", {"USED_AGENT_ID": "99", "final_data": {"a": 1}})
    assert await core.came() == []
    assert await core.came() == []
    for _ in range(3):
        await core.poll()
    response = await posting.response()
    assert response.status_code == 422
    assert response.json()["error_type"] == "unknown-agent"
    assert response.json()["field"] == "USED_AGENT_ID"
    assert await core.came() == []


async def test_agent_that_the_core_does_not_know_is_refused_after_two_polls(
    router: Router, core: Core
) -> None:
    """Section 3: unknown agents are ignored by the core, so a page would wait for ever."""
    page = await router.page()
    await page.alive("99")
    await page.say({"update_id": "u"})
    await page.came()
    assert await core.poll() == {"99": "none"}
    assert await core.poll() == {"99": "none"}
    assert await core.poll() == {}
    packets, code = await page.closed()
    told = [packet.data["error_type"] for packet in packets if packet.packet_type == "log_error"]
    assert "unknown-agent" in told
    assert code == 4004
    assert await core.came() == []


@with_options(grace=0.1)
async def test_disconnect_is_reported_until_the_core_has_said_so_itself(
    router: Router, core: Core
) -> None:
    """Section 3: "disconnect" is believed and final, so it is reported once it is true."""
    page = await router.seated(core, "1")
    other = await router.seated(core, "2")
    await page.close()
    await core.poll_until("1", "disconnect")
    assert (await core.poll()) == {"1": "disconnect", "2": "in task"}
    await core.status("1", "disconnect")
    assert (await core.poll()).get("1") in (None, "disconnect")
    assert await other.came() == []


@with_options(grace=0.1)
async def test_submission_that_races_a_disconnect(router: Router, core: Core) -> None:
    """Section 3: a submission is stored even after disconnect; the status stays the core's."""
    page = await router.seated(core, "1")
    await page.close()
    await core.poll_until("1", "disconnect")
    response = await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {"a": 1}})
    assert response.status_code == 200
    assert (await core.receive("submit_unit")).data == {"a": 1}
    assert await core.poll() == {"1": "disconnect"}


async def test_statuses_of_many_agents_fit_the_core(router: Router, core: Core) -> None:
    """Section 3: the answer to a poll is a message, too: at most 1 MiB, whatever the number."""
    for number in range(4_500):
        await core.status(str(number), "in task")
    statuses = await core.poll()
    while len(statuses) < 4_500:
        packet = await core.receive("return_statuses")
        assert len(packet.text) < MIB
        statuses |= packet.data
    assert statuses == {str(number): "in task" for number in range(4_500)}


@pytest.mark.parametrize(
    ("packet_type", "subject_id", "data"),
    [
        ("agent_details", "channel", {"request_id": "unknown", "agent_id": "5"}),
        ("agent_details", "channel", {"agent_id": "5"}),
        ("agent_details", "channel", {"request_id": "r", "agent_id": 5}),
        ("update_status", "1", {"status": "asleep"}),
        ("update_status", "1", {}),
        ("update_status", "1", None),
        ("client_bound_live_update", "1", []),
        ("client_bound_live_update", "", {}),
        ("submit_unit", "1", {}),
        ("register_agent", "1", {}),
    ],
)
async def test_packet_of_the_core_that_is_wrong_is_refused(
    router: Router, core: Core, packet_type: str, subject_id: str, data: object
) -> None:
    """Section 1, who sends what: a core that errs is told so; pages never hear of it (section 5:
    update_status without data.status throws in the page)."""
    page = await router.seated(core, "1")
    await core.send(packet_type, subject_id, data)
    refusal = await core.receive("log_error")
    assert set(refusal.data) == {"error_type", "text", "field", "expected"}
    assert await page.came() == []
    assert await core.poll() == {"1": "in task"}
