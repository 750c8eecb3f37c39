"""PROTOCOL.md section 3: the core as it really behaves, and what a router must do about it."""

from __future__ import annotations

import pytest

from .peers import Core, Packet, Router
from .servers import with_options

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def onboard(router: Router, core: Core) -> Packet:
    """An onboarding agent hands in its answers; returns what asks the core."""
    await router.register(core, "onboarding_1", "hit-ada")
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"answer": "blue"}}
    router.start_post("/submit_onboarding", {"provider_data": provider})
    return await core.receive("submit_onboarding")


# Connections ---------------------------------------------------------------------------------


async def test_each_alive_points_the_router_at_that_connection(router: Router, core: Core) -> None:
    """Section 3: after a drop the core connects anew and sends only `alive`; re-point at each."""
    page = await router.seated(core, "1")
    newer = await router.core()
    packets, code = await core.closed()
    assert (packets, code) == ([], 4002)
    await page.say({"update_id": "u"})
    assert (await newer.receive("mephisto_bound_live_update")).data == {"update_id": "u"}
    await newer.say("1", {"update_id": "v"})
    assert (await page.receive("client_bound_live_update")).data == {"update_id": "v"}


async def test_second_alive_of_the_core_changes_nothing(router: Router, core: Core) -> None:
    """Section 3: the core sends `alive` after every open; a repeat is none the worse."""
    await router.register(core, "1")
    await core.send("alive", "mephisto", {})
    assert await core.poll() == {"1": "none"}


async def test_ping_of_the_core_gets_its_pong(router: Router) -> None:
    """Section 3: it sends RFC pings and wants pongs within 20 s."""
    wire = await router.wire()
    await wire.send(0x9, b"token")
    assert await wire.receive() == (0xA, b"token")


async def test_what_was_forwarded_while_the_core_was_away_reaches_it(
    router: Router, core: Core
) -> None:
    """Section 3 and the defects of section 4: live updates and submissions in the core's gap were
    lost by upstream's routers; here they wait, in order."""
    page = await router.seated(core, "1")
    await router.register(core, "2")
    await core.close()
    for number in range(5):
        await page.say({"update_id": str(number)})
    await page.came()
    response = await router.post("/submit_task", {"USED_AGENT_ID": "2", "final_data": {"a": 1}})
    assert response.status_code == 200
    response = await router.post("/submit_metadata", {"USED_AGENT_ID": "2", "metadata": {"b": 1}})
    assert response.status_code == 200
    core = await router.core()
    got = [(await core.packet()).brief for _ in range(7)]
    assert got == [
        *(("mephisto_bound_live_update", "1", {"update_id": str(n)}) for n in range(5)),
        ("submit_unit", "2", {"a": 1}),
        ("submit_metadata", "2", {"b": 1}),
    ]
    assert await core.came() == []


async def test_submission_is_sent_again_until_the_core_shows_that_it_has_it(
    router: Router, core: Core
) -> None:
    """Section 3: what was in flight when its connection broke is lost to the core; a submission that
    got its 2xx is not (the core stores it once per agent)."""
    await router.register(core, "1")
    await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {"a": 1}})
    first = await core.receive("submit_unit")
    await core.close()
    core = await router.core()
    again = await core.receive("submit_unit")
    assert again.brief == first.brief
    await core.status("1", "completed")
    await core.poll()
    core = await router.core()
    assert await core.came() == []


async def test_registration_is_never_sent_twice(router: Router, core: Core) -> None:
    """Section 3: the same registration in flight twice takes two agents and two units."""
    asking = router.ask("hit-ada")
    asked = await core.receive("register_agent")
    await core.close()
    core = await router.core()
    assert await core.came() == []
    assert not asking.is_answered
    await core.answer(asked, "1")  # upstream's core answers on whatever connection it has
    assert (await asking.details())["agent_id"] == "1"


@with_options(request_wait=0.3)
async def test_post_stays_open_to_its_limit_when_the_core_drops(router: Router, core: Core) -> None:
    """Sections 2 and 3: the POST waits on, is answered with the truth at its limit, and the core is
    not asked twice."""
    asking = router.ask("hit-ada")
    await core.receive("register_agent")
    await core.close()
    core = await router.core()
    answer = await asking.details()
    assert answer["agent_id"] is None
    assert answer["failure_reason"]
    assert await core.came() == []


async def test_registration_waits_for_a_core_that_is_on_its_way(router: Router) -> None:
    """Section 3: a core that is away comes back within a second as a rule."""
    asking = router.ask("hit-ada")
    assert (await router.http.get("/is_alive")).status_code == 200
    core = await router.core()
    await core.answer(await core.receive("register_agent"), "1")
    assert (await asking.details())["agent_id"] == "1"


# What would make it close its connection ---------------------------------------------------------


async def test_submission_of_0_9_mb_reaches_the_core(router: Router, core: Core) -> None:
    """Section 3: 0.9 MB is fine."""
    await router.register(core, "1")
    final_data = {"text": "x" * 900_000}
    response = await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": final_data})
    assert response.status_code == 200
    assert (await core.receive("submit_unit")).data == final_data


async def test_largest_packet_that_is_taken_fits_the_core(router: Router, core: Core) -> None:
    """Section 3: at most 1 MiB a message, with all its keys. The core here takes no byte more."""
    await router.register(core, "1")
    taken = refused = 0
    for size in range(MIB - 1_000, MIB + 100, 50):
        body = {"USED_AGENT_ID": "1", "metadata": {"t": "x" * size}, "client_timestamp": 1e9 / 3}
        response = await router.post("/submit_metadata", body)
        if response.status_code == 200:
            assert not refused, "a larger one was taken after a smaller one was refused"
            taken += 1
            assert len((await core.receive("submit_metadata")).data["t"]) == size
        else:
            assert response.status_code == 413
            refused += 1
    assert taken
    assert refused
    assert await core.came() == []


async def test_live_update_that_does_not_fit_is_refused_and_costs_no_connection(
    router: Router, core: Core
) -> None:
    """Section 3: above 1 MiB the core closes with 1009 and the packet is gone."""
    page = await router.seated(core, "1")
    await page.say({"update_id": "u", "text": "x" * MIB})
    assert (await page.refusal())["error_type"] == "too-large"
    await page.say({"update_id": "v"})
    expected = ("mephisto_bound_live_update", "1", {"update_id": "v"})
    assert [packet.brief for packet in await core.came()] == [expected]


async def test_huge_error_report_is_refused(router: Router, core: Core) -> None:
    """Section 3: a very large log_error blocks the core for seconds: cap it."""
    page = await router.seated(core, "1")
    await page.send("log_error", "1", {"stack": "x" * 500_000})
    assert (await page.refusal())["error_type"] == "too-large"
    body = {"USED_AGENT_ID": "1", "error_data": {"stack": "x" * 500_000}}
    assert (await router.post("/log_error", body)).status_code == 413
    await page.send("log_error", "1", {"stack": "x" * 10_000})
    assert len((await core.receive("log_error")).text) > 10_000


@pytest.mark.parametrize("data", [[], "text", 3, None, True], ids=str)
async def test_live_update_whose_data_is_no_object_is_refused(
    router: Router, core: Core, data: object
) -> None:
    """Section 3: data of a live update must be an object."""
    page = await router.seated(core, "1")
    await page.say(data)
    assert (await page.refusal())["field"] == "data"
    assert await core.came() == []


# Registrations -------------------------------------------------------------------------------


async def test_second_registration_joins_the_one_in_flight(router: Router, core: Core) -> None:
    """Section 3: never let the same registration be in flight twice: one packet, one answer."""
    first = router.ask("hit-ada")
    asked = await core.receive("register_agent")
    second = router.ask("hit-ada", "/register_worker")
    assert await core.came() == []
    assert await core.came() == []
    await core.answer(asked, "1", init_task_data={"a": 1})
    assert await first.details() == await second.details()
    assert await core.came() == []


async def test_registration_after_the_answer_asks_again(router: Router, core: Core) -> None:
    """Section 3: a repeat after the answer is a clean reconnect to the same agent id."""
    await router.register(core, "1", "hit-ada")
    await core.status("1", "in task")
    asking = router.ask("hit-ada")
    asked = await core.receive("register_agent")
    await core.answer(asked, "1", init_task_data={"past_live_updates": [{"a": 1}]})
    assert (await asking.details())["init_task_data"] == {"past_live_updates": [{"a": 1}]}
    assert await core.poll() == {"1": "in task"}


async def test_registrations_of_two_workers_do_not_join(router: Router, core: Core) -> None:
    """Section 3: the registration id is assignment and worker."""
    first, second = router.ask("hit-ada"), router.ask("hit-bob")
    for agent_id in ("1", "2"):
        await core.answer(await core.receive("register_agent"), agent_id)
    got = {(await first.details())["agent_id"], (await second.details())["agent_id"]}
    assert got == {"1", "2"}


@pytest.mark.parametrize("missing", ["worker_name", "agent_registration_id"])
@pytest.mark.parametrize("value", [None, "", 3], ids=["absent", "empty", "number"])
async def test_registration_that_the_core_would_never_answer_is_refused(
    router: Router, core: Core, missing: str, value: object
) -> None:
    """Section 3: register_agent needs both names, or the core never answers."""
    provider = {"worker_name": "ada", "agent_registration_id": "hit-ada", missing: value}
    if value is None:
        del provider[missing]
    response = await router.post("/request_agent", {"provider_data": provider})
    assert response.status_code == 422
    assert missing in response.json()["field"]
    assert await core.came() == []


# Onboarding ------------------------------------------------------------------------------------


async def test_repeated_onboarding_is_answered_and_not_forwarded(
    router: Router, core: Core
) -> None:
    """Section 3: the core answers a second submit_onboarding by a status only: the POST would hang."""
    asked = await onboard(router, core)
    await core.answer(asked, "1", init_task_data={"a": 1})
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"answer": "blue"}}
    again = router.start_post("/submit_onboarding", {"provider_data": provider})
    answer = await again.details()
    assert (answer["agent_id"], answer["init_task_data"]) == ("1", {"a": 1})
    assert await core.came() == []


async def test_second_onboarding_joins_the_one_in_flight(router: Router, core: Core) -> None:
    """Section 3: a retried POST must not hang either while the first waits."""
    asked = await onboard(router, core)
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"answer": "blue"}}
    again = router.start_post("/submit_onboarding", {"provider_data": provider})
    assert await core.came() == []
    assert await core.came() == []
    await core.answer(asked, "1")
    assert (await again.details())["agent_id"] == "1"
    assert await core.came() == []


async def test_onboarding_is_sent_again_until_it_is_answered(router: Router, core: Core) -> None:
    """Section 3: what was in flight is lost when its connection breaks; the worker's answers are not,
    and once they are answered nobody hears of them again."""
    asked = await onboard(router, core)
    await core.close()
    core = await router.core()
    again = await core.receive("submit_onboarding")
    assert again.brief == asked.brief
    await core.answer(again, "1")
    await core.poll()
    core = await router.core()
    assert await core.came() == []


async def test_onboarding_goes_on_under_the_new_agent_id(router: Router, core: Core) -> None:
    """Section 3, sequence seen: onboarding, waiting, then the *new* agent id: in task."""
    await router.register(core, "onboarding_1", "hit-ada")
    await core.status("onboarding_1", "onboarding")
    page = await router.page()
    await page.alive("onboarding_1")
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {}}
    asking = router.start_post("/submit_onboarding", {"provider_data": provider})
    asked = await core.receive("submit_onboarding")
    await core.status("onboarding_1", "waiting")
    await core.answer(asked, "1")
    await asking.details()
    assert (await page.receive("update_status")).data == {"status": "waiting"}
    await core.status("1", "in task")
    assert (await page.receive("update_status")).data == {"status": "in task"}
    assert await core.poll() == {"1": "in task"}
    # The page that has read the answer goes by its new name, on the same socket.
    await page.send("mephisto_bound_live_update", "1", {"update_id": "u"})
    assert (await core.receive("mephisto_bound_live_update")).subject_id == "1"
