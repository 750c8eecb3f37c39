"""The other ends of a router under test: a core on its driver, and a WebSocket in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import anyio.lowlevel
import httpx
from starlette.types import ASGIApp, Message, Scope

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.driver import Driver
from statecore.events import Frame, Principal
from statecore.router import RouterCore
from statecore.settings import RouterOptions

__all__ = [
    "AppTransport",
    "AsgiSocket",
    "CorePeer",
    "client_of",
    "details",
    "packet",
    "router_app",
    "socket_scope",
]


_numbers = itertools.count(1)


def packet(packet_type: str, subject_id: str, data: object = None, **more: object) -> str:
    """A packet as a program would send it."""
    return json.dumps(
        {"packet_type": packet_type, "subject_id": subject_id, "data": data or {}, **more}
    )


def details(request_id: str, agent_id: str | None, reason: str | None = None) -> str:
    """The core's answer to a registration."""
    data = {
        "request_id": request_id,
        "worker_id": None if agent_id is None else "w1",
        "agent_id": agent_id,
        "init_task_data": {"text": "work"},
        "failure_reason": reason,
    }
    return packet("agent_details", "channel", data)


def router_app(options: RouterOptions | None = None, **app_options: Any) -> StatecoreApp:
    return StatecoreApp(Driver(RouterCore(options), wall_clock=lambda: 1_234.5), **app_options)


class AppTransport(httpx.AsyncBaseTransport):
    """Gives requests to an application, their bodies in pieces; the peer stays to the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        pieces = [body[start : start + 1_000] for start in range(0, len(body), 1_000)] or [b""]
        path, _, query = request.url.raw_path.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": unquote(path.decode()),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 50_000),
            "server": (request.url.host, request.url.port),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            await anyio.lowlevel.checkpoint()
            if not pieces:  # the peer stays until it has its answer
                await anyio.sleep_forever()
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()
            sent.append(message)

        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        if request.method == "HEAD":
            content = b""
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)


@asynccontextmanager
async def client_of(
    app: ASGIApp, base_url: str = "http://router"
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client whose requests go to the application without a socket."""
    transport = AppTransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
        yield client


class CorePeer:
    """The core's side of a system socket that is connected to the driver itself."""

    def __init__(self, driver: Driver, *, pings: bool = False) -> None:
        self.driver = driver
        self.sent: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._arrived = anyio.Event()
        self._name = f"core-{next(_numbers)}"
        driver.connect(self._name, self, Principal(loopback=True), pings=pings)
        self.say(packet("alive", "mephisto"))

    def send(self, payload: str) -> None:
        self.sent.append(json.loads(payload))
        self._arrived.set()
        self._arrived = anyio.Event()

    def ping(self, token: str) -> None:
        raise AssertionError("this peer was connected without pings")

    def close(self, code: int, reason: str) -> None:
        self.close_code = code

    def say(self, text: str) -> None:
        self.driver.receive(Frame(self._name, text, self.driver.wall_clock()))

    def leave(self) -> None:
        """Drop the connection."""
        self.driver.disconnect(self._name)

    async def next(self, packet_type: str) -> dict[str, Any]:
        """The oldest packet of this type; it is taken."""
        with anyio.fail_after(5):
            while True:
                for index, sent in enumerate(self.sent):
                    if sent["packet_type"] == packet_type:
                        return self.sent.pop(index)
                await self._arrived.wait()


def socket_scope(
    path: str = "/",
    *,
    root_path: str = "",
    client: tuple[str, int] | None = ("127.0.0.1", 50_000),
    headers: Iterable[tuple[bytes, bytes]] = (),
    extensions: dict[str, Any] | None = None,
) -> Scope:
    return {
        "type": "websocket",
        "path": root_path + path,
        "root_path": root_path,
        "client": client,
        "headers": list(headers),
        "extensions": extensions,
        "query_string": b"",
    }


class AsgiSocket:
    """The peer of one WebSocket scope, over memory streams, on any event loop.

    Args:
        app: what is served.
        scope: the scope of the connection.
        room: how many messages the peer takes before it stops reading; 0 makes each ``send`` of
            the application wait for ``receive``.
    """

    def __init__(self, app: ASGIApp, scope: Scope | None = None, *, room: float = 1_000) -> None:
        self._app = app
        self._scope = scope or socket_scope()
        self._to_app, self._app_receives = anyio.create_memory_object_stream[Message](1_000)
        self._app_sends, self._from_app = anyio.create_memory_object_stream[Message](room)
        self.ended = anyio.Event()

    async def __aenter__(self) -> AsgiSocket:
        self._context = self._connected()
        return await self._context.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._context.__aexit__(*error)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsgiSocket]:
        with self._to_app, self._app_receives, self._app_sends, self._from_app:
            async with anyio.create_task_group() as group:
                await self._to_app.send({"type": "websocket.connect"})
                group.start_soon(self._run)
                yield self
                self._to_app.send_nowait({"type": "websocket.disconnect", "code": 1000})
                self._from_app.close()  # what is still sent fails, as it does on a broken socket
                with anyio.fail_after(5):
                    await self.ended.wait()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._app_receives.receive, self._send)
        finally:
            self.ended.set()

    async def _send(self, message: Message) -> None:
        try:
            await self._app_sends.send(message)
        except anyio.BrokenResourceError:
            raise OSError("the peer is gone") from None

    def say(self, message: Message | str) -> None:
        """Send a text frame, or any ASGI event."""
        if isinstance(message, str):
            message = {"type": "websocket.receive", "text": message}
        self._to_app.send_nowait(message)

    async def receive(self) -> Message:
        with anyio.fail_after(5):
            return await self._from_app.receive()

    async def next(self, packet_type: str) -> dict[str, Any]:
        """The next packet of this type; others are skipped."""
        while True:
            message = await self.receive()
            found: dict[str, Any] = json.loads(message["text"])
            if found["packet_type"] == packet_type:
                return found
