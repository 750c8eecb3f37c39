"""What a dying socket swallowed: sent again where the transport can prove what was read.

Our ASGI application under our uvicorn class has pings; the FastAPI example has none and says so, and what
was handed to its sockets counts as delivered. What both keep is tested with PROTOCOL.md sections 3 and 5.
"""

from __future__ import annotations

import json

import pytest

from .frames import Wire
from .peers import Core, Packet, Router

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("server", ["asgi"], indirect=True),
]


async def frames(wire: Wire, count: int) -> list[Packet]:
    """The next packets, whatever pings come between them; no pong is ever sent."""
    packets: list[Packet] = []
    while len(packets) < count:
        opcode, payload = await wire.receive()
        if opcode == 0x1:
            packets.append(Packet.read(payload.decode()))
        else:
            assert opcode == 0x9
    return packets


async def say(wire: Wire, packet_type: str, subject_id: str, data: object) -> None:
    packet = {"packet_type": packet_type, "subject_id": subject_id, "data": data}
    await wire.send(0x1, json.dumps(packet).encode())


@pytest.mark.parametrize("count", [1, 16, 40])
async def test_live_updates_that_no_pong_has_proven_reach_the_next_core(
    router: Router, count: int
) -> None:
    """Section 4's defect: a live update to the core during its gap is dropped. The core had its socket
    and read nothing of it; its dedupe by update_id (section 3) makes a repeat harmless."""
    deaf = await router.wire()
    await say(deaf, "alive", "mephisto", {})
    await say(deaf, "update_status", "1", {"status": "in task"})
    page = await router.page()
    await page.alive("1")
    for number in range(count):
        await page.say({"update_id": number})
    await frames(deaf, count)
    await deaf.cut()
    core = await router.core()
    got = [(await core.receive("mephisto_bound_live_update")).data for _ in range(count)]
    assert got == [{"update_id": number} for number in range(count)]


async def test_live_updates_that_a_pong_has_proven_are_not_sent_again(
    router: Router, core: Core
) -> None:
    """S3, S8: proof ends it; the outbox does not grow with what the core has read."""
    page = await router.seated(core, "1")
    for number in range(40):
        await page.say({"update_id": number})
        await core.receive("mephisto_bound_live_update")
    await core.poll()  # asks for proof of the rest,
    await core.poll()  # and its pong has come before this
    core = await router.core()
    assert await core.came() == []


async def test_registration_is_not_repeated_even_without_proof(router: Router) -> None:
    """Section 3: register_agent never: two units would be taken."""
    deaf = await router.wire()
    await say(deaf, "alive", "mephisto", {})
    asking = router.ask("hit-ada")
    (asked,) = await frames(deaf, 1)
    assert asked.packet_type == "register_agent"
    await deaf.cut()
    core = await router.core()
    assert await core.came() == []
    await core.answer(asked, "1")
    assert (await asking.details())["agent_id"] == "1"


@pytest.mark.parametrize("count", [1, 16, 40])
async def test_what_a_page_has_not_read_comes_again_on_its_next_socket(
    router: Router, core: Core, count: int
) -> None:
    """Section 4's defect: an update to an agent whose socket has closed is dropped. S3: in order, and
    twice only after a reconnect, where the page drops it by its update_id (section 5)."""
    await router.register(core, "1")
    await core.status("1", "in task")
    deaf = await router.wire()
    await say(deaf, "alive", "1", {"update_id": "first"})
    await frames(deaf, 1)
    for number in range(count):
        await core.say("1", {"update_id": number})
    await frames(deaf, count)
    await deaf.cut()
    page = await router.page()
    await page.hello("1")
    got = await page.came()
    updates = [packet.data for packet in got if packet.packet_type == "client_bound_live_update"]
    assert updates == [{"update_id": number} for number in range(count)]
    assert [p.data for p in got if p.packet_type == "update_status"] == [{"status": "in task"}]


async def test_page_that_has_read_all_gets_nothing_twice(router: Router, core: Core) -> None:
    """S3: the pong that follows sixteen packets proves them all."""
    page = await router.seated(core, "1")
    for number in range(31):  # with the first status, twice sixteen
        await core.say("1", {"update_id": number})
        await page.receive("client_bound_live_update")
    assert await page.came() == []  # whose answer comes after the pong has gone
    await page.close()
    again = await router.page()
    await again.hello("1")
    assert [packet.packet_type for packet in await again.came()] == ["update_status"]
