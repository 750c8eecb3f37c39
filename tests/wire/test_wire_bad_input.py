"""What bad input gets, frame by frame: a reason, and no harm to anybody.

Whatever comes, nothing of it is forwarded, it is counted, and the agent of the connection and every
other agent go on as before (S9; PROTOCOL.md section 3: a router that passes a page's malformed packet on
lets any page cut off the core).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from .peers import Core, Page, Router
from .servers import with_options

pytestmark = pytest.mark.anyio


@dataclass
class Scene:
    """Two agents at work, and a count of what was refused so far."""

    router: Router
    core: Core
    page: Page
    other: Page
    refused_before: int

    async def is_unharmed(self, *, refused: int = 1, page_is_open: bool = True) -> None:
        """Nothing was forwarded, all was counted, and both agents still work."""
        assert await self.core.came() == []
        assert sum((await self.router.refused()).values()) == self.refused_before + refused
        assert await self.other.came() == []
        assert await self.core.poll() == {"1": "in task", "2": "in task"}
        if not page_is_open:
            self.page = await self.router.page()
            await self.page.alive("1")
        for page in (self.page, self.other):
            await page.say({"update_id": page.agent_id})
            update = await self.core.receive("mephisto_bound_live_update")
            assert update.brief[1:] == (page.agent_id, {"update_id": page.agent_id})
            await self.core.say(page.agent_id, {"update_id": "back"})
            update = await page.receive("client_bound_live_update")
            assert update.brief[1:] == (page.agent_id, {"update_id": "back"})


@pytest.fixture
async def scene(router: Router, core: Core) -> Scene:
    page, other = await router.seated(core, "1"), await router.seated(core, "2")
    return Scene(router, core, page, other, sum((await router.refused()).values()))


def packet(**keys: object) -> str:
    """A live update as it should be, but for these keys; one that is ``...`` is left out."""
    whole = {
        "packet_type": "mephisto_bound_live_update",
        "subject_id": "1",
        "data": {"update_id": "u"},
        "client_timestamp": 1.5,
    } | keys
    return json.dumps({key: value for key, value in whole.items() if value is not ...})


# (frame, error_type, field): what comes in, and what the sender is told.
FRAMES: dict[str, tuple[str, str, str | None]] = {
    "words": ("hello", "not-json", None),
    "nothing": ("", "not-json", None),
    "half": ('{"packet_type": "heartbeat"', "not-json", None),
    "single quotes": ("{'packet_type': 'heartbeat', 'subject_id': '1'}", "not-json", None),
    "two objects": (packet() + packet(), "not-json", None),
    "NaN": (packet().replace("1.5", "NaN"), "not-json", None),
    "array": (f"[{packet()}]", "wrong-type", None),
    "number": ("3", "wrong-type", None),
    "text": ('"heartbeat"', "wrong-type", None),
    "null": ("null", "wrong-type", None),
    "no packet_type": (packet(packet_type=...), "missing-field", "packet_type"),
    "packet_type null": (packet(packet_type=None), "wrong-type", "packet_type"),
    "packet_type number": (packet(packet_type=3), "wrong-type", "packet_type"),
    "no subject_id": (packet(subject_id=...), "missing-field", "subject_id"),
    "subject_id null": (packet(subject_id=None), "missing-field", "subject_id"),
    "subject_id number": (packet(subject_id=1), "wrong-type", "subject_id"),
    "subject_id object": (packet(subject_id={"id": "1"}), "wrong-type", "subject_id"),
    "no data": (packet(data=...), "", None),
    "data null": (packet(data=None), "wrong-type", "data"),
    "data array": (packet(data=[{}]), "wrong-type", "data"),
    "data text": (packet(data="{}"), "wrong-type", "data"),
    "integer": (packet(data={"n": 0}).replace("0}", "1" * 4_301 + "}"), "long-integer", "data"),
    "negative": (
        packet(data={"n": 0}).replace("0}", "-" + "9" * 5_000 + "}"),
        "long-integer",
        "data",
    ),
    "nested arrays": (
        packet(data={"n": 0}).replace("0}", "[" * 501 + "]" * 501 + "}"),
        "too-deep",
        "data",
    ),
    "nested objects": (
        packet(data={"n": 0}).replace("0}", '{"a":' * 501 + "0" + "}" * 501 + "}"),
        "too-deep",
        "data",
    ),
    "bottomless": ("[" * 200_000, "too-deep", "data"),
    "unknown type": (packet(packet_type="shutdown"), "unknown-packet-type", "packet_type"),
    "type in capitals": (packet(packet_type="ALIVE"), "unknown-packet-type", "packet_type"),
    "somebody else's": (packet(subject_id="2"), "not-yours", "subject_id"),
    "somebody else's heartbeat": (
        packet(packet_type="heartbeat", subject_id="2"),
        "not-yours",
        "subject_id",
    ),
    "somebody else's alive": (
        packet(packet_type="alive", subject_id="2"),
        "not-yours",
        "subject_id",
    ),
    "nobody's": (packet(subject_id="3"), "not-yours", "subject_id"),
    "error about another": (
        packet(packet_type="log_error", subject_id="2"),
        "not-yours",
        "subject_id",
    ),
    **{
        kind: (packet(packet_type=kind), "not-allowed", "packet_type")
        for kind in (
            "register_agent",
            "agent_details",
            "submit_onboarding",
            "submit_unit",
            "submit_metadata",
            "client_bound_live_update",
            "update_status",
            "request_statuses",
            "return_statuses",
        )
    },
}


@pytest.mark.parametrize("name", FRAMES)
async def test_bad_frame_is_answered_with_the_reason(scene: Scene, name: str) -> None:
    """Bad input, frames: a log_error with error_type, text, field, expected; the socket stays open."""
    frame, error_type, field = FRAMES[name]
    await scene.page.send_text(frame)
    if not error_type:  # it is data as good as {}
        assert [p.data for p in await scene.core.came()] == [{}]
        return
    told = await scene.page.refusal()
    assert (told["error_type"], told["field"]) == (error_type, field)
    assert told["expected"]
    assert len(told["text"]) < 1_000, "a reason is for people"
    await scene.is_unharmed()


async def test_bad_frames_of_strangers_are_answered_alike(scene: Scene) -> None:
    """Bad input, frames: the same on a socket that has not yet said whose it is."""
    refused = 0
    for name, (frame, error_type, _) in FRAMES.items():
        if error_type in ("", "not-yours"):
            continue  # fine on the socket of whoever is the first to name that agent
        stranger = await scene.router.page()
        await stranger.send_text(frame)
        assert (await stranger.refusal())["error_type"] == error_type, name
        refused += 1
    await scene.is_unharmed(refused=refused)


@pytest.mark.parametrize(
    "name", [name for name, (_, kind, _) in FRAMES.items() if kind in ("not-json", "too-deep")]
)
async def test_bad_frame_of_the_core_is_answered_alike(scene: Scene, name: str) -> None:
    """Bad input, frames: the core itself errs no less, and stays the core."""
    await scene.core.send_text(FRAMES[name][0])
    refusal = await scene.core.receive("log_error")
    assert refusal.data["error_type"] == FRAMES[name][1]
    await scene.is_unharmed()


async def test_many_bad_frames_are_answered_one_by_one(scene: Scene) -> None:
    """Bad input, frames: a page that errs a thousand times is told a thousand times."""
    for _ in range(1_000):
        await scene.page.send_text("{")
    for _ in range(1_000):
        await scene.page.refusal()
    await scene.is_unharmed(refused=1_000)


# Frames that end the connection ------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"\x00\x01", packet().encode(), b""], ids=["bytes", "json", "empty"]
)
async def test_binary_frame_closes_with_1003(scene: Scene, payload: bytes) -> None:
    """Bad input, a binary frame."""
    wire = await scene.router.wire()
    await wire.send(0x1, packet(packet_type="alive").encode())
    await wire.receive()
    await wire.send(0x2, payload)
    assert await wire.close_code() == 1003
    assert (await scene.page.closed())[1] == 4001  # the wire had taken over before it erred
    await scene.is_unharmed(page_is_open=False)


async def test_text_that_is_not_utf_8_closes_with_1007(scene: Scene) -> None:
    """Bad input, text that is not UTF-8: the server's own part."""
    wire = await scene.router.wire()
    await wire.send(0x1, packet(data={"t": "?"}).encode().replace(b"?", b"\xff\xfe"))
    assert await wire.close_code() == 1007
    await scene.is_unharmed(refused=0)


async def test_frame_over_the_limit_closes_with_1009(scene: Scene) -> None:
    """Bad input, a frame over the size limit."""
    wire = await scene.router.wire()
    await wire.send(0x1, packet(data={"t": "x" * (5 << 20)}).encode())
    assert await wire.close_code() == 1009
    await scene.is_unharmed(refused=sum((await scene.router.refused()).values()))


async def test_frame_in_parts_is_one_frame(scene: Scene) -> None:
    """Bad input has a good twin: a message may come in fragments, with a ping between them."""
    wire = await scene.router.wire()
    text = packet(data={"t": "ü" * 50_000}, subject_id="1").encode()
    await wire.send(0x1, text[:60_001], fin=False)
    await wire.send(0x9, b"between")
    await wire.send(0x0, text[60_001:70_000], fin=False)
    await wire.send(0x0, text[70_000:])
    assert (await scene.core.receive("mephisto_bound_live_update")).data == {"t": "ü" * 50_000}


async def test_peer_that_vanishes_in_the_middle_of_a_frame_harms_nobody(scene: Scene) -> None:
    """Bad input, half a frame."""
    for _ in range(5):
        stream = await scene.router.wire()
        await stream.send(0x1, packet().encode()[:20], fin=False)
        await stream.cut()
    await scene.is_unharmed(refused=0)


# Who may be the core -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://worker.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
    ids=str,
)
async def test_page_that_says_it_is_the_core_is_not_believed(
    scene: Scene, headers: dict[str, str]
) -> None:
    """Section 4's defect, S7: any client whose alive says "mephisto" became the core."""
    impostor = await scene.router.core(headers)
    packets, code = await impostor.closed()
    assert code == 4003
    assert packets[0].data["error_type"] == "not-authenticated"
    await scene.is_unharmed()


async def test_agent_that_says_it_is_the_core_is_not_believed(scene: Scene) -> None:
    """Section 4's defect, S7: not from an agent's own socket either."""
    await scene.page.send("alive", "mephisto", {})
    packets, code = await scene.page.closed()
    assert code == 4003
    assert packets[0].data["error_type"] == "not-authenticated"
    await scene.is_unharmed(page_is_open=False)


@with_options(system_token="s3cret")
async def test_with_a_system_token_only_who_has_it_is_the_core(router: Router) -> None:
    """S7: with --system-token nobody is the core without it, from wherever."""
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "s3cret"},
        {"Authorization": "Bearer s3cret "[:-2]},
    ):
        impostor = await router.core(headers)
        assert (await impostor.closed())[1] == 4003
    headers = {"Authorization": "Bearer s3cret", "X-Forwarded-For": "10.0.0.9"}
    core = await router.core(headers)
    await router.seated(core, "1")
    assert await core.poll() == {"1": "in task"}
