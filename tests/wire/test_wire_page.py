"""PROTOCOL.md section 5: the page as it really behaves, and what a router must do about it."""

from __future__ import annotations

import time

import pytest

from .peers import Core, Page, Router
from .servers import with_options

pytestmark = pytest.mark.anyio


async def reopened(router: Router, page: Page) -> Page:
    """The page after its socket broke: a new one, on which it has said alive."""
    await page.close()
    again = await router.page()
    await again.hello(page.agent_id)
    return again


# Whose socket it is ------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [{}, {"subject_id": None}, {"subject_id": ""}], ids=str)
async def test_alive_without_a_subject_binds_at_the_next_packet(
    router: Router, core: Core, subject: dict[str, object]
) -> None:
    """Section 5: about once in 70 connects alive has no subject_id; later packets have it: bind an
    unbound socket on the first packet that names an agent, heartbeats included."""
    await router.register(core, "1")
    await core.status("1", "in task")
    await core.say("1", {"update_id": "waiting for it"})
    page = await router.page()
    await page.send_text('{"packet_type": "alive", "data": {"update_id": "u"}}')
    await page.send("heartbeat", "1")
    kinds = [(await page.packet()).packet_type for _ in range(3)]
    assert sorted(kinds) == ["client_bound_live_update", "heartbeat", "update_status"]
    await core.say("1", {"update_id": "more"})
    assert (await page.receive("client_bound_live_update")).data == {"update_id": "more"}


async def test_live_update_binds_a_socket_too(router: Router, core: Core) -> None:
    """Section 5: the first packet that names an agent, of whatever type."""
    await router.register(core, "1")
    await core.status("1", "in task")
    page = await router.page()
    await page.send("mephisto_bound_live_update", "1", {"update_id": "u"})
    assert (await core.receive("mephisto_bound_live_update")).subject_id == "1"
    assert (await page.receive("update_status")).data == {"status": "in task"}


async def test_page_hears_nothing_of_others(router: Router, core: Core) -> None:
    """Section 5: the page does not check subject_id: whatever comes down its socket it takes."""
    first = await router.seated(core, "1")
    second = await router.seated(core, "2")
    await core.say("1", {"update_id": "for one"})
    await core.status("2", "waiting")
    assert [p.data for p in await first.came()] == [{"update_id": "for one"}]
    assert [p.data for p in await second.came()] == [{"status": "waiting"}]


# Heartbeats --------------------------------------------------------------------------------------


async def test_last_ping_is_in_milliseconds_and_begins_at_now(router: Router) -> None:
    """Section 5: only last_mephisto_ping counts, in milliseconds; in seconds, null or 20 s old, the
    page gives up. So it starts at "now", before any core was heard."""
    before = time.time() * 1000
    page = await router.page()
    await page.send("heartbeat", "1")
    _, answer = await page.until("heartbeat")
    ping = answer.data["last_mephisto_ping"]
    assert type(ping) is int
    assert before - 5_000 < ping <= time.time() * 1000


async def test_last_ping_is_the_time_of_the_last_poll(router: Router, core: Core) -> None:
    """Section 5: the time of the last request_statuses."""
    page = await router.seated(core, "1")
    before = int(time.time() * 1000)
    await core.poll()
    after = time.time() * 1000
    for _ in range(2):
        await page.send("heartbeat", "1")
        ping = (await page.receive("heartbeat")).data["last_mephisto_ping"]
        assert before <= ping <= after


async def test_every_heartbeat_is_answered(router: Router, core: Core) -> None:
    """Section 5: never answered, the page gives up after 20 to 28 s; without data it throws."""
    page = await router.seated(core, "1")
    await core.status("1", "completed")
    await page.receive("update_status")
    for _ in range(3):
        await page.send("heartbeat", "1")
        answer = await page.receive("heartbeat")
        assert answer.subject_id == "1"
        assert answer.data["status"] == "completed"


@with_options(heartbeat_limit=0.3)
async def test_silent_page_is_disconnected_and_the_core_is_told(router: Router, core: Core) -> None:
    """Sections 4 and 5: a page sends a heartbeat every 6 s; one that falls silent is gone."""
    page = await router.seated(core, "1")
    packets, code = await page.closed()
    assert code == 4008
    assert [p.brief for p in packets] == [("update_status", "1", {"status": "disconnect"})]
    assert await core.poll() == {"1": "disconnect"}


@with_options(heartbeat_limit=0.3)
async def test_socket_that_never_names_an_agent_is_closed(router: Router, core: Core) -> None:
    """Section 4's defect: node never notices the loss of an agent that never sent a heartbeat."""
    page = await router.page()
    packets, code = await page.closed()
    assert (packets, code) == ([], 4008)
    assert await core.poll() == {}


@with_options(heartbeat_limit=0.3, grace=0.3)
async def test_static_page_is_never_disconnected_for_silence(router: Router, core: Core) -> None:
    """S5: an agent that never opened a socket may sleep. A live agent's end shows the time pass."""
    await router.register(core, "1")
    await core.status("1", "in task")
    for agent_id in ("2", "3"):
        live = await router.seated(core, agent_id)
        assert (await live.closed())[1] == 4008
    reported = await core.poll()
    assert reported["1"] == "in task"
    assert reported["3"] == "disconnect"


# Statuses ----------------------------------------------------------------------------------------


async def test_status_is_pushed_on_every_alive(router: Router, core: Core) -> None:
    """Section 5: push the current status on every alive, or a reloaded page has none."""
    page = await router.seated(core, "1")
    for _ in range(3):
        await page.hello("1")
        assert (await page.receive("update_status")).data == {"status": "in task"}
    page = await reopened(router, page)
    assert (await page.receive("update_status")).data == {"status": "in task"}
    assert await page.came() == []


@pytest.mark.parametrize("status", ["completed", "partner disconnect", "timeout", "approved"])
async def test_returning_agent_learns_how_it_ended(router: Router, core: Core, status: str) -> None:
    """S10: also when the core has gone, which will not push it again."""
    await router.register(core, "1")
    await core.status("1", status)
    await core.poll()
    await core.close()
    page = await router.page()
    assert (await page.alive("1")).data == {"status": status}


async def test_page_is_completed_once_its_submission_was_taken(router: Router, core: Core) -> None:
    """Section 4, worth keeping: status "completed" after a submission; the core's own word for it
    still comes, and reaches the page."""
    page = await router.seated(core, "1")
    await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {}})
    await page.hello("1")
    assert (await page.receive("update_status")).data == {"status": "completed"}
    assert await core.came() != []
    assert await core.poll() == {"1": "in task"}  # the core's own last word
    await core.status("1", "completed")
    assert (await page.receive("update_status")).data == {"status": "completed"}


# Live updates ------------------------------------------------------------------------------------


async def test_order_is_kept_in_both_directions(router: Router, core: Core) -> None:
    """Section 5: its send queue reorders a burst (0, 2, 4, 3, 1). Keep the wire's order."""
    page = await router.seated(core, "1")
    order = [0, 2, 4, 3, 1, *range(5, 300)]
    for number in order:
        await page.say({"update_id": str(number)})
        await core.say("1", {"update_id": str(number)})
    there = [(await core.packet()).data["update_id"] for _ in order]
    back = [(await page.packet()).data["update_id"] for _ in order]
    assert there == back == [str(number) for number in order]


async def test_update_without_an_id_passes_as_it_is(router: Router, core: Core) -> None:
    """Section 5: the page shows only the first such; ids are the sender's, and none is made up."""
    page = await router.seated(core, "1")
    await core.say("1", {"text": "no id"})
    assert (await page.receive("client_bound_live_update")).data == {"text": "no id"}
    await page.say({"text": "no id"})
    assert (await core.receive("mephisto_bound_live_update")).data == {"text": "no id"}


async def test_onboarding_page_may_send_live_updates(router: Router, core: Core) -> None:
    """Section 5: remote procedure pages send live updates during onboarding too."""
    await router.register(core, "onboarding_1")
    await core.status("onboarding_1", "onboarding")
    page = await router.page()
    await page.alive("onboarding_1")
    await page.say({"update_id": "u", "request": 1})
    assert (await core.receive("mephisto_bound_live_update")).subject_id == "onboarding_1"
    await core.say("onboarding_1", {"update_id": "v", "response": 1})
    assert (await page.receive("client_bound_live_update")).data == {
        "update_id": "v",
        "response": 1,
    }


async def test_update_in_the_waiting_room_is_held_until_the_task_starts(
    router: Router, core: Core
) -> None:
    """Bad input, a packet that the state does not allow: held, then forwarded in order."""
    page = await router.seated(core, "1", "waiting")
    for number in range(3):
        await page.say({"update_id": str(number)})
    await page.came()
    assert await core.came() == []
    await core.poll()
    await core.status("1", "in task")
    got = [(await core.receive("mephisto_bound_live_update")).data for _ in range(3)]
    assert got == [{"update_id": str(number)} for number in range(3)]
    assert [p.packet_type for p in await page.came()] == ["update_status"]


async def test_update_in_the_waiting_room_is_refused_after_two_polls(
    router: Router, core: Core
) -> None:
    """Bad input, a packet that the state does not allow: refused with the state and what is legal."""
    page = await router.seated(core, "1", "waiting")
    await page.say({"update_id": "u"})
    await page.came()
    for _ in range(3):
        await core.poll()
    refusal = await page.refusal()
    assert refusal["error_type"] == "illegal-in-state"
    assert "waiting" in refusal["text"]
    assert "submit_unit" in refusal["expected"]
    await core.status("1", "in task")
    await page.receive("update_status")
    assert await core.came() == []


@pytest.mark.parametrize("status", ["completed", "disconnect", "rejected"])
async def test_update_after_the_end_is_refused(router: Router, core: Core, status: str) -> None:
    """Bad input, a packet that the state does not allow: nobody listens any more."""
    page = await router.seated(core, "1")
    await core.status("1", status)
    await page.receive("update_status")
    await page.say({"update_id": "late"})
    refusal = await page.refusal()
    assert refusal["error_type"] == "illegal-in-state"
    assert await core.came() == []
    await core.say("1", {"update_id": "the core may still"})
    assert (await page.receive("client_bound_live_update")).data == {
        "update_id": "the core may still"
    }


# Losing and regaining the socket -----------------------------------------------------------------


async def test_what_was_sent_in_the_gap_comes_after_the_reconnect(
    router: Router, core: Core
) -> None:
    """Section 5: after a drop it reconnects at its next heartbeat; what was sent to it in between is
    lost with both upstream routers, and kept here."""
    page = await router.seated(core, "1")
    await core.say("1", {"update_id": "seen"})
    await page.receive("client_bound_live_update")
    await page.close()
    for number in range(5):
        await core.say("1", {"update_id": str(number)})
    await core.poll()
    page = await reopened(router, page)
    updates = [p.data["update_id"] for p in await page.came() if "update_id" in p.data]
    # Twice only after a reconnect, where the id lets the page drop it (S3); never out of order.
    assert updates[-5:] == ["0", "1", "2", "3", "4"]
    assert updates[:-5] in ([], ["seen"])


@with_options(grace=1.0)
async def test_agent_that_returns_within_the_grace_time_is_never_disconnected(
    router: Router, core: Core
) -> None:
    """Sections 4 and 5, S6: it reconnects within 6 s; the partner must not hear of it. That the
    grace time has passed shows at another agent, who lost its socket later and stayed away."""
    page = await router.seated(core, "1")
    gone = await router.seated(core, "2")
    page = await reopened(router, page)
    await page.receive("update_status")
    await gone.close()
    await core.poll_until("2", "disconnect")
    assert (await core.poll())["1"] == "in task"
    assert await page.came() == []


@with_options(grace=0.1)
async def test_agent_without_a_socket_past_the_grace_time_is_disconnected(
    router: Router, core: Core
) -> None:
    """Section 5: the core believes it, and the partner is told "partner disconnect"; the page that
    comes back late learns of it."""
    page = await router.seated(core, "1")
    partner = await router.seated(core, "2")
    await page.close()
    await core.poll_until("1", "disconnect")
    await core.status("1", "disconnect")
    await core.status("2", "partner disconnect")
    assert (await partner.receive("update_status")).data == {"status": "partner disconnect"}
    late = await router.page()
    assert (await late.alive("1")).data == {"status": "disconnect"}


async def test_reload_drops_what_past_live_updates_carries(router: Router, core: Core) -> None:
    """Section 5: a reload posts /request_agent again and replays past_live_updates without entering
    them in its list of seen ids: what was queued before must not come again."""
    page = await router.seated(core, "1")
    await page.close()
    for number in range(3):
        await core.say("1", {"update_id": str(number)})
    asking = router.ask("registration-1")
    asked = await core.receive("register_agent")
    past = [{"update_id": str(number)} for number in range(3)]
    await core.answer(asked, "1", init_task_data={"past_live_updates": past})
    assert (await asking.details())["init_task_data"]["past_live_updates"] == past
    await core.say("1", {"update_id": "new"})
    await core.poll()
    page = await reopened(router, page)
    got = await page.came()
    assert [p.data for p in got if p.packet_type == "client_bound_live_update"] == [
        {"update_id": "new"}
    ]
    assert [p.data for p in got if p.packet_type == "update_status"] == [{"status": "in task"}]


# A second tab ------------------------------------------------------------------------------------


async def test_second_tab_takes_over_and_the_first_gives_up(router: Router, core: Core) -> None:
    """Section 5: a closed npm tab reconnects for ever; a heartbeat answer with last_mephisto_ping 0
    makes it give up for good. The newest wins (S7)."""
    first = await router.seated(core, "1")
    second = await router.page()
    await second.hello("1")
    assert (await second.receive("update_status")).data == {"status": "in task"}
    packets, code = await first.closed()
    assert [p.packet_type for p in packets] == ["heartbeat"]
    assert packets[0].data["last_mephisto_ping"] == 0
    assert code == 4001
    await core.say("1", {"update_id": "u"})
    assert (await second.receive("client_bound_live_update")).data == {"update_id": "u"}
    await second.say({"update_id": "v"})
    assert (await core.receive("mephisto_bound_live_update")).data == {"update_id": "v"}
    assert await core.poll() == {"1": "in task"}


@with_options(grace=0.2)
async def test_end_of_the_first_tab_costs_the_second_nothing(router: Router, core: Core) -> None:
    """Section 5: the first tab's close is not the agent's; again another agent shows the time pass."""
    first = await router.seated(core, "1")
    second = await router.page()
    await second.alive("1")
    await first.closed()
    other = await router.seated(core, "2")
    await other.close()
    await core.poll_until("2", "disconnect")
    assert (await core.poll())["1"] == "in task"
    assert await second.came() == []
