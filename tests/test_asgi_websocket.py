"""WebSocket scopes: frames in, packets out, one writer, slow and broken peers (PROTOCOL 2, 3, 5)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from asgi_peers import AsgiSocket, CorePeer, packet, router_app, socket_scope
from fake_clock import FakeClock
from test_driver import ScriptedCore

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.asgi_websocket import PING_EXTENSION
from statecore.adapters.driver import Driver
from statecore.effects import Close, Effect, Ping, Send
from statecore.envelope import Envelope, encode_data
from statecore.events import Closed, Frame, Opened, Ponged, Principal

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_socket_tells_the_core_who_came_what_they_said_and_that_they_left() -> None:
    core = ScriptedCore()
    app = StatecoreApp(Driver(core, wall_clock=lambda: 5.0))
    headers = [(b"origin", b"http://page"), (b"authorization", b"Bearer t")]
    async with app.running(), AsgiSocket(app, socket_scope(headers=headers)) as page:
        assert await page.receive() == {"type": "websocket.accept"}
        page.say("hello")
        page.say({"type": "websocket.receive", "text": None, "bytes": b"\x00"})
        page.say({"type": "websocket.receive", "bytes": b"\x01"})
    opened = core.received[0]
    assert isinstance(opened, Opened)
    name = opened.connection
    principal = Principal(loopback=True, origin="http://page", token="t")
    assert core.received == [
        Opened(name, principal, 5.0, False),
        Frame(name, "hello", 5.0),
        Frame(name, b"\x00", 5.0),
        Frame(name, b"\x01", 5.0),
        Closed(name, 1000),
    ]


async def test_sockets_have_names_that_are_never_used_again() -> None:
    core = ScriptedCore()
    app = StatecoreApp(Driver(core))
    async with app.running():
        for _ in range(3):
            async with AsgiSocket(app) as page:
                await page.receive()
    names = [event.connection for event in core.received if isinstance(event, Opened)]
    assert len(set(names)) == 3


@pytest.mark.parametrize("path", ["/", "/socket", ""])
async def test_socket_is_served_at_the_root_and_at_socket(path: str) -> None:
    app = router_app()
    async with app.running(), AsgiSocket(app, socket_scope(path)) as page:
        assert await page.receive() == {"type": "websocket.accept"}


async def test_socket_elsewhere_is_refused_before_it_opens() -> None:
    core = ScriptedCore()
    app = StatecoreApp(Driver(core))
    async with app.running(), AsgiSocket(app, socket_scope("/elsewhere")) as page:
        assert (await page.receive())["type"] == "websocket.close"
    assert core.received == []


async def test_agent_hears_its_status_and_its_updates_in_order() -> None:
    # PROTOCOL 5: the current status on every alive; PROTOCOL 3: updates in the order sent.
    app = router_app()
    async with app.running():
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        async with AsgiSocket(app) as page:
            assert await page.receive() == {"type": "websocket.accept"}
            page.say(packet("alive", "a1"))
            assert (await page.next("update_status"))["data"]["status"] == "in task"
            for number in range(50):
                core.say(packet("client_bound_live_update", "a1", {"update_id": str(number)}))
            found = [(await page.next("client_bound_live_update"))["data"] for _ in range(50)]
            assert [data["update_id"] for data in found] == [str(n) for n in range(50)]
            page.say(packet("mephisto_bound_live_update", "a1", {"update_id": "x", "text": "hi"}))
            update = await core.next("mephisto_bound_live_update")
            assert update["data"] == {"update_id": "x", "text": "hi"}
            assert update["router_incoming_timestamp"] == 1_234.5
            assert update["router_outgoing_timestamp"] == 1_234.5


async def test_heartbeat_is_answered_in_milliseconds() -> None:
    app = router_app()
    async with app.running(), AsgiSocket(app) as page:
        await page.receive()
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        core.say(packet("request_statuses", "mephisto"))
        page.say(packet("heartbeat", "a1"))
        assert (await page.next("heartbeat"))["data"]["last_mephisto_ping"] == 1_234_500


async def test_binary_frame_is_closed_with_1003() -> None:
    app = router_app()
    async with app.running(), AsgiSocket(app) as page:
        await page.receive()
        page.say({"type": "websocket.receive", "bytes": b"{}"})
        message = await page.receive()
        assert (message["type"], message["code"]) == ("websocket.close", 1003)
        await page.ended.wait()


async def test_page_that_claims_to_be_the_core_is_closed_with_4003() -> None:
    app = router_app()
    scope = socket_scope(headers=[(b"origin", b"http://page")])
    async with app.running(), AsgiSocket(app, scope) as page:
        await page.receive()
        page.say(packet("alive", "mephisto"))
        assert (await page.next("log_error"))["data"]["error_type"] == "not-authenticated"
        assert (await page.receive())["code"] == 4003


async def test_close_comes_after_what_was_sent_and_nothing_after_it() -> None:
    update = Envelope("client_bound_live_update", "a1", encode_data({"n": 1}))

    def script(event: object) -> tuple[Effect, ...]:
        if isinstance(event, Frame):
            name = event.connection
            reason = "ü" * 100
            return (
                Send(name, update),
                Close(name, 4001, reason),
                Send(name, update),
                Close(name, 1, ""),
            )
        return ()

    core = ScriptedCore(script)
    app = StatecoreApp(Driver(core))
    async with app.running(), AsgiSocket(app) as page:
        await page.receive()
        page.say("one")
        page.say("two")
        assert (await page.receive())["type"] == "websocket.send"
        closing = await page.receive()
        # A close frame has room for 123 bytes of reason, and no half characters.
        assert (closing["code"], closing["reason"]) == (4001, "ü" * 61)
        await page.ended.wait()
    assert [event for event in core.received if isinstance(event, Frame)][1:] == []
    assert isinstance(core.received[-1], Closed)


async def test_pings_go_out_and_pongs_come_in_where_the_server_has_the_extension() -> None:
    core = ScriptedCore(
        lambda event: (Ping(event.connection, "7"),) if isinstance(event, Frame) else ()
    )
    app = StatecoreApp(Driver(core))
    scope = socket_scope(extensions={PING_EXTENSION: {}})
    async with app.running(), AsgiSocket(app, scope) as page:
        await page.receive()
        page.say("go")
        assert await page.receive() == {"type": "websocket.ping", "bytes": b"7"}
        page.say({"type": "websocket.pong", "bytes": b"7"})
        page.say({"type": "websocket.pong", "bytes": b"\xff"})
    opened = core.received[0]
    assert isinstance(opened, Opened)
    assert opened.pings
    pongs = [event for event in core.received if isinstance(event, Ponged)]
    assert pongs == [Ponged(opened.connection, "7"), Ponged(opened.connection, "\ufffd")]


class Flood(ScriptedCore):
    """Sends so many packets of a kilobyte for each frame; the frame says how many."""

    def __init__(self) -> None:
        super().__init__(self._flood)

    def _flood(self, event: object) -> list[Effect]:
        data = encode_data({"filling": "x" * 1_000})
        if isinstance(event, Frame):
            return [
                Send(event.connection, Envelope("client_bound_live_update", "a1", data))
                for _ in range(int(event.payload))
            ]
        return []


async def test_one_burst_is_never_refused_however_large_it_is() -> None:
    app = StatecoreApp(Driver(Flood()), queue_limit=10_000)
    async with app.running(), AsgiSocket(app, room=0) as page:
        await page.receive()
        page.say("100")
        for _ in range(100):
            assert (await page.receive())["type"] == "websocket.send"


async def test_slow_peer_is_given_up_at_the_bound_and_closed_with_1013() -> None:
    core = Flood()
    app = StatecoreApp(Driver(core), queue_limit=10_000)
    async with app.running(), AsgiSocket(app, room=0) as page:
        await page.receive()
        page.say("1")
        await anyio.wait_all_tasks_blocked()  # the writer waits for this peer now
        page.say("11")
        page.say("1")
        await anyio.wait_all_tasks_blocked()
        # The core was told at once, before the peer is even closed; what came after is nobody's.
        assert [type(event) for event in core.received] == [Opened, Frame, Frame, Closed]
        page.say({"type": "websocket.pong", "bytes": b"late"})
        closing = await page.receive()
        assert (closing["type"], closing["code"]) == ("websocket.close", 1013)
        await page.ended.wait()
    assert [type(event) for event in core.received] == [Opened, Frame, Frame, Closed]


async def test_peer_that_reads_again_before_the_bound_gets_everything() -> None:
    core = Flood()
    app = StatecoreApp(Driver(core), queue_limit=10_000)
    async with app.running(), AsgiSocket(app, room=0) as page:
        await page.receive()
        for _ in range(4):
            page.say("1")
            await anyio.wait_all_tasks_blocked()
            page.say("6")  # these wait, and count, until the peer has read the one before
            await anyio.wait_all_tasks_blocked()
            for _ in range(7):
                assert (await page.receive())["type"] == "websocket.send"


async def test_peer_that_takes_no_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statecore.adapters.asgi_websocket.CLOSE_WAIT", 0.0)
    update = Envelope("client_bound_live_update", "a1")
    core = ScriptedCore(
        lambda event: (
            (Send(event.connection, update), Close(event.connection, 4008, "silent"))
            if isinstance(event, Frame)
            else ()
        )
    )
    app = StatecoreApp(Driver(core))
    async with app.running(), AsgiSocket(app, room=0) as page:
        await page.receive()
        page.say("go")
        with anyio.fail_after(5):
            await page.ended.wait()
    assert isinstance(core.received[-1], Closed)


async def test_peer_that_is_gone_while_it_is_sent_to_ends_the_scope() -> None:
    core = Flood()
    app = StatecoreApp(Driver(core))
    async with app.running(), AsgiSocket(app, room=0) as page:
        await page.receive()
        page.say("1")
        await anyio.wait_all_tasks_blocked()
        page._from_app.close()
        with anyio.fail_after(5):
            await page.ended.wait()
    assert isinstance(core.received[-1], Closed)


async def test_peer_that_is_gone_before_it_is_accepted_is_no_connection() -> None:
    core = ScriptedCore()
    app = StatecoreApp(Driver(core))

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        raise OSError("gone")

    async with app.running():
        await app(socket_scope(), receive, send)
    assert core.received == []


async def test_lost_socket_within_the_grace_time_keeps_the_agent_and_its_packets() -> None:
    # PROTOCOL 5: what was sent to a page while it was away may be sent when it is back.
    clock = FakeClock()
    app = router_app()
    app.driver._timers._clock = clock
    async with app.running():
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        async with AsgiSocket(app) as page:
            page.say(packet("alive", "a1"))
            await page.receive()
            await page.next("update_status")
        await clock.advance(9.0)
        core.say(packet("client_bound_live_update", "a1", {"update_id": "u1"}))
        async with AsgiSocket(app) as page:
            await page.receive()
            page.say(packet("alive", "a1"))
            assert (await page.next("client_bound_live_update"))["data"] == {"update_id": "u1"}
        await clock.advance(10.0)
        core.say(packet("request_statuses", "mephisto"))
        assert (await core.next("return_statuses"))["data"] == {"a1": "disconnect"}


async def test_frame_that_is_no_packet_is_answered_and_the_socket_stays_usable() -> None:
    app = router_app()
    async with app.running(), AsgiSocket(app) as page:
        await page.receive()
        CorePeer(app.driver).say(packet("update_status", "a1", {"status": "waiting"}))
        page.say("not a packet")
        assert (await page.next("log_error"))["data"]["error_type"] == "not-json"
        page.say(packet("alive", "a1"))
        assert (await page.next("update_status"))["data"]["status"] == "waiting"
