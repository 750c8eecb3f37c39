"""uvicorn's WebSocket with pings, over real sockets: limits, slow and broken peers (PROTOCOL 1-3)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from raw_socket import raw_socket
from test_driver import ScriptedCore
from websockets.frames import Opcode

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.asgi_websocket import DIRECT_EXTENSION
from statecore.adapters.driver import Driver
from statecore.adapters.serve import ServerOptions, serve
from statecore.adapters.uvicorn_websocket import PING_PREFIX, PingableWebSocket
from statecore.effects import Close, Ping, Send
from statecore.envelope import Envelope, encode_data
from statecore.events import Closed, Frame, Opened, Ponged

pytestmark = pytest.mark.anyio

OPTIONS = ServerOptions(port=0, frame_limit=10_000, shutdown_wait=1.0)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}  # uvicorn's only ones


class EventCore(ScriptedCore):
    """A core whose events can be waited for."""

    def __init__(self, script: Callable[[Any], Any] = lambda event: ()) -> None:
        super().__init__(script)
        self._news = anyio.Event()

    def receive(self, event: Any, /) -> Any:
        effects = super().receive(event)
        self._news.set()
        self._news = anyio.Event()
        return effects

    async def saw(self, kind: type, count: int = 1) -> list[Any]:
        """Wait until so many events of a kind have come."""
        with anyio.fail_after(10):
            while len(found := [e for e in self.received if isinstance(e, kind)]) < count:
                await self._news.wait()
        return found


@asynccontextmanager
async def served(app: Any, routers: Any, options: ServerOptions) -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        url = await group.start(serve, app, routers, options)
        assert isinstance(url, str)
        yield url
        group.cancel_scope.cancel()


@asynccontextmanager
async def router(
    core: EventCore, options: ServerOptions = OPTIONS, queue_limit: int = 1 << 20
) -> AsyncIterator[tuple[Driver, str]]:
    app = StatecoreApp(Driver(core), queue_limit=queue_limit)
    async with served(app, [app], options) as url:
        yield app.driver, url


async def test_ping_goes_out_with_its_token_and_its_pong_comes_in_its_place() -> None:
    core = EventCore(lambda e: (Ping(e.connection, "42"),) if isinstance(e, Frame) else ())
    async with router(core) as (_, url), raw_socket(url) as page:
        (opened,) = await core.saw(Opened)
        assert opened.pings
        await page.send("one")
        ping = await page.receive(Opcode.PING)
        assert bytes(ping.data) == PING_PREFIX + b"42"
        await page.send("two")
        assert await core.saw(Ponged) == [Ponged(opened.connection, "42")]
        kinds = [type(event) for event in await core.saw(object, 4)]
        assert kinds == [Opened, Frame, Ponged, Frame]


async def test_pong_for_no_ping_of_ours_is_not_passed_on() -> None:
    core = EventCore(lambda e: (Ping(e.connection, "1"),) if isinstance(e, Frame) else ())
    async with router(core) as (_, url), raw_socket(url) as page:
        for payload in (b"", b"abcd", PING_PREFIX + b"1", PING_PREFIX):
            await page.send_frame(Opcode.PONG, payload)
        await page.send("now")
        await page.receive(Opcode.PING)
        assert len(await core.saw(Ponged)) == 1
        await page.send_frame(Opcode.PONG, PING_PREFIX + b"1")
        await page.send("again")
        await core.saw(Frame, 2)
        assert len(await core.saw(Ponged)) == 1


async def test_pong_answers_the_pings_before_it_too() -> None:
    pings = ("1", "2", "3")
    core = EventCore(
        lambda e: tuple(Ping(e.connection, n) for n in pings) if isinstance(e, Opened) else ()
    )
    async with router(core) as (_, url), raw_socket(url) as page:
        (opened,) = await core.saw(Opened)
        await page.send_frame(Opcode.PONG, PING_PREFIX + b"2")
        await page.send_frame(Opcode.PONG, PING_PREFIX + b"1")
        await page.send_frame(Opcode.PONG, PING_PREFIX + b"3")
        await page.send("end")
        await core.saw(Frame)
        assert await core.saw(Ponged) == [
            Ponged(opened.connection, "2"),
            Ponged(opened.connection, "3"),
        ]


async def test_keepalive_pings_of_the_server_and_ours_are_never_confused() -> None:
    core = EventCore(lambda e: (Ping(e.connection, "1"),) if isinstance(e, Frame) else ())
    app = StatecoreApp(Driver(core))
    async with own_uvicorn(app, ws_ping_interval=0.01) as url, raw_socket(url) as page:
        await page.send("go")
        keepalives = 0
        ours = 0
        while keepalives < 5 or not ours:
            data = bytes((await page.receive(Opcode.PING)).data)
            ours += data.startswith(PING_PREFIX)
            keepalives += len(data) == 4
        assert len(await core.saw(Ponged)) == 1


async def test_peer_that_answers_no_keepalive_is_closed_with_1011() -> None:
    core = EventCore()
    app = StatecoreApp(Driver(core))
    async with (
        own_uvicorn(app, ws_ping_interval=0.01, ws_ping_timeout=0.01) as url,
        raw_socket(url) as page,
    ):
        assert await page.close_code() == 1011
        assert [event.code for event in await core.saw(Closed)] == [1005]


async def test_frame_over_the_limit_is_closed_with_1009_and_never_seen() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send("x" * 10_000)
        await core.saw(Frame)
        await page.send("x" * 10_001)
        assert await page.close_code() == 1009
        await core.saw(Closed)
        assert len(await core.saw(Frame)) == 1


async def test_peer_that_is_still_sending_its_large_frame_hears_why_it_is_closed() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send("x" * (32 << 20))
        assert await page.close_code() == 1009
        assert [event.code for event in await core.saw(Closed)] == [1009]


async def test_message_in_pieces_is_put_together_and_has_the_same_limit() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send_frame(Opcode.TEXT, b"one ", fin=False)
        await page.send_frame(Opcode.CONT, b"two", fin=True)
        (frame,) = await core.saw(Frame)
        assert frame.payload == "one two"
        await page.send_frame(Opcode.TEXT, b"x" * 6_000, fin=False)
        await page.send_frame(Opcode.CONT, b"x" * 6_000, fin=True)
        assert await page.close_code() == 1009


async def test_text_that_is_not_utf8_is_closed_with_1007() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send_frame(Opcode.TEXT, b"\xff\xfe")
        assert await page.close_code() == 1007
        await core.saw(Closed)
        assert [event for event in core.received if isinstance(event, Frame)] == []


async def test_binary_frame_reaches_the_core_as_bytes() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send_frame(Opcode.BINARY, b"\x00\x01")
        (frame,) = await core.saw(Frame)
        assert frame.payload == b"\x00\x01"


async def test_core_hears_the_code_that_the_peer_closed_with() -> None:
    core = EventCore()
    async with router(core) as (_, url), raw_socket(url) as page:
        page.protocol.send_close(4321, "enough")
        await page.flush()
        assert [event.code for event in await core.saw(Closed)] == [4321]


async def test_error_in_the_core_costs_the_connection_and_no_other() -> None:
    def script(event: Any) -> tuple[()]:
        if isinstance(event, Frame) and event.payload == "bad":
            raise ZeroDivisionError
        return ()

    core = EventCore(script)
    told: list[Any] = []  # by default, the event loop logs it
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with router(core) as (_, url), raw_socket(url) as one, raw_socket(url) as other:
        await one.send("bad")
        assert await one.close_code() is None
        await core.saw(Closed)
        await other.send("good")
        await core.saw(Frame, 2)
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_close_of_the_core_reaches_the_peer_with_its_reason() -> None:
    core = EventCore(
        lambda e: (Close(e.connection, 4001, "a newer tab"),) if isinstance(e, Frame) else ()
    )
    async with router(core) as (_, url), raw_socket(url) as page:
        await page.send("go")
        assert await page.close_code() == 4001
        assert page.protocol.close_rcvd is not None
        assert page.protocol.close_rcvd.reason == "a newer tab"


async def test_deflate_is_off_unless_asked_for() -> None:
    for deflate in (False, True):
        options = ServerOptions(port=0, deflate=deflate)
        async with router(EventCore(), options) as (_, url):
            host, _, port = url.removeprefix("http://").partition(":")
            async with await anyio.connect_tcp(host, int(port)) as stream:
                await stream.send(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
                )
                answer = await stream.receive()
            assert answer.startswith(b"HTTP/1.1 101")
            assert (b"permessage-deflate" in answer) is deflate


async def test_handshake_that_is_wrong_is_refused() -> None:
    core = EventCore()
    async with router(core) as (_, url):
        host, _, port = url.removeprefix("http://").partition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert (await stream.receive()).startswith(b"HTTP/1.1 4")
    assert core.received == []


def slow_to_start(app: StatecoreApp, messages: int) -> Any:
    """The application behind a middleware that dawdles until so many messages have come."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def send_then_wait(message: Any) -> None:
            await send(message)
            if message["type"] == "websocket.accept":
                queue = scope["extensions"][DIRECT_EXTENSION].queue
                with anyio.fail_after(10):
                    while queue.qsize() < messages:
                        await anyio.lowlevel.checkpoint()

        await app(scope, receive, send_then_wait if scope["type"] == "websocket" else send)

    return outer


async def test_frames_that_come_before_the_router_listens_are_not_overtaken() -> None:
    core = EventCore()
    app = StatecoreApp(Driver(core))
    async with served(slow_to_start(app, 4), [app], OPTIONS) as url, raw_socket(url) as page:
        for number in range(3):
            page.protocol.send_text(b"%d" % number)
        page.protocol.send_binary(b"3")
        await page.flush_at_once()
        await core.saw(Opened)
        await page.send("4")
        payloads = [frame.payload for frame in await core.saw(Frame, 5)]
        assert payloads == ["0", "1", "2", b"3", "4"]


async def test_peer_that_left_before_the_router_listens_is_heard_to_the_end() -> None:
    core = EventCore()
    app = StatecoreApp(Driver(core))
    async with served(slow_to_start(app, 2), [app], OPTIONS) as url, raw_socket(url) as page:
        page.protocol.send_text(b"last words")
        page.protocol.send_close(4321)
        await page.flush_at_once()
        assert [event.code for event in await core.saw(Closed)] == [4321]
    assert [type(event) for event in core.received] == [Opened, Frame, Closed]


async def test_order_holds_while_a_peer_falls_behind_and_catches_up() -> None:
    core = EventCore()
    async with router(core, queue_limit=100 << 20) as (driver, url), raw_socket(url) as page:
        (opened,) = await core.saw(Opened)
        name = opened.connection
        filling = "x" * 100_000

        def script(event: Any) -> Any:
            if isinstance(event, int):
                data = encode_data({"n": event, "filling": filling})
                yield Send(name, Envelope("client_bound_live_update", "a1", data))
                yield Ping(name, str(event))

        core.script = script
        for number in range(200):  # more than the sockets take
            driver.receive(number)
            await anyio.lowlevel.checkpoint()
        seen: list[Any] = []
        while len(seen) < 400:
            frame = await page.receive(Opcode.TEXT, Opcode.PING)
            data = bytes(frame.data)
            seen.append(
                data.removeprefix(PING_PREFIX).decode()
                if frame.opcode is Opcode.PING
                else json.loads(data)["data"]["n"]
            )
        assert seen == [item for number in range(200) for item in (number, str(number))]
        assert len(await core.saw(Ponged, 200)) == 200


async def test_plain_application_pings_and_hears_the_pong_in_its_place() -> None:
    heard: list[Any] = []
    done = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.ping", "bytes": b"7"})
        await send({"type": "websocket.send", "text": "go"})
        while (message := await receive())["type"] != "websocket.disconnect":
            heard.append(message)
        done.set()

    async with own_uvicorn(app) as url, raw_socket(url) as page:
        await page.receive(Opcode.PING)
        await page.send("one")
        await page.send_frame(Opcode.TEXT, b"\xff")
        assert await page.close_code() == 1007
        with anyio.fail_after(10):
            await done.wait()
    assert heard[0] == {"type": "websocket.pong", "bytes": b"7"}
    assert [message.get("text") for message in heard[1:]] == ["one"]


async def test_what_is_sent_to_a_peer_that_is_gone_goes_nowhere() -> None:
    gone: list[bool] = []
    done = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        direct = scope["extensions"][DIRECT_EXTENSION]
        gone.extend((direct.write("late"), direct.write_ping(b"late")))
        done.set()

    async with own_uvicorn(app) as url:
        async with raw_socket(url) as page:
            page.protocol.send_close(1000)
            await page.flush()
            assert await page.close_code() == 1000
        with anyio.fail_after(10):
            await done.wait()
    assert gone == [True, True]


LARGE = Envelope("client_bound_live_update", "a1", encode_data({"filling": "x" * (1 << 20)}))


def flood(connection: str) -> Callable[[Any], Any]:
    return lambda event: (Send(connection, LARGE),) if event == "flood" else ()


async def flooded(core: EventCore, driver: Driver) -> None:
    """Send a megabyte at a time until the peer is given up; sockets take some before that."""
    (opened,) = await core.saw(Opened)
    core.script = flood(opened.connection)
    with anyio.fail_after(10):
        while not any(isinstance(event, Closed) for event in core.received):
            driver.receive("flood")
            await anyio.lowlevel.checkpoint()


async def test_peer_that_reads_nothing_is_given_up_and_closed_with_1013() -> None:
    core = EventCore()
    async with router(core, queue_limit=3 << 20) as (driver, url), raw_socket(url) as page:
        await flooded(core, driver)
        assert await page.close_code() == 1013  # behind all that was under way


async def test_peer_that_never_reads_again_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = PingableWebSocket.__init__

    def in_a_hurry(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.close_timeout = 0.0

    monkeypatch.setattr(PingableWebSocket, "__init__", in_a_hurry)
    core = EventCore()
    async with router(core, queue_limit=3 << 20) as (driver, url), raw_socket(url) as page:
        await flooded(core, driver)
        for _ in range(20):  # the loop's timers, in their turns
            await anyio.lowlevel.checkpoint()
        assert await page.close_code() is None


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.ping"])
async def test_application_that_sends_after_the_server_closed_hears_that_the_peer_is_gone(
    kind: str,
) -> None:
    ended: list[BaseException] = []
    done = anyio.Event()

    async def chatter(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send(
                    {"type": kind, "text": "tick", "bytes": b"t"}
                    if kind.endswith("ping")
                    else {"type": kind, "text": "tick"}
                )
                await anyio.lowlevel.checkpoint()
        except OSError as error:
            ended.append(error)
        finally:
            done.set()

    async with own_uvicorn(chatter, ws_max_size=100) as url, raw_socket(url) as page:
        await page.receive(Opcode.TEXT, Opcode.PING)
        await page.send("x" * 101)
        with anyio.fail_after(10):
            await done.wait()
    assert len(ended) == 1


@asynccontextmanager
async def own_uvicorn(app: Any, **options: Any) -> AsyncIterator[str]:
    """uvicorn with this WebSocket class and settings that ``serve`` does not offer."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        ws=PingableWebSocket,
        lifespan="auto",
        log_config=None,
        timeout_graceful_shutdown=1,
        **options,
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve, [listener])
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
