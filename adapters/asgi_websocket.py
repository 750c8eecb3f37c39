"""One WebSocket scope: its frames become events, what the core sends goes out through one writer.

The writer is the only task that sends, so nothing overtakes. What waits for it is bounded:

1. What is handed over while the peer keeps up is never refused, however much it is: after a
   reconnect the core may send a whole outbox at once, and it bounded that itself.
2. What is handed over while the writer is held up by a slow peer counts. At the bound the peer
   is given up: the core hears that the connection is closed, so that it keeps what was not
   proven read, and the peer is closed with 1013.
3. A peer that must be closed and takes nothing any more is left after ``CLOSE_WAIT`` seconds.

A server that offers the extension ``statecore.ping`` in the scope (statecore's own protocol class
for uvicorn does) takes ``{"type": "websocket.ping", "bytes": token}`` and reports
``{"type": "websocket.pong", "bytes": token}``. Plain ASGI has neither.

The extension ``statecore.direct`` is a ``DirectSocket``: frames come and go without queues and
tasks while the peer keeps up. It saves most of the time that a message costs here, and changes
nothing else: what the socket does not take at once goes through the queue, by the same rules.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Protocol

import anyio
from starlette.types import Message, Receive, Scope, Send

from statecore.adapters.driver import Driver
from statecore.adapters.principal import principal_of
from statecore.events import Frame, Ponged

__all__ = [
    "CLOSE_WAIT",
    "DIRECT_EXTENSION",
    "PING_EXTENSION",
    "DirectSocket",
    "SocketConnection",
    "serve_websocket",
]

PING_EXTENSION = "statecore.ping"
DIRECT_EXTENSION = "statecore.direct"
CLOSE_WAIT = 5.0

_numbers = itertools.count(1)


class DirectSocket(Protocol):
    """The server's own end of a WebSocket, as the extension ``statecore.direct`` offers it."""

    def attach(
        self, on_message: Callable[[str | bytes], None], on_pong: Callable[[bytes], None]
    ) -> None:
        """Hand messages and pongs to these from now on, instead of to ASGI's ``receive``."""
        ...

    def write(self, text: str) -> bool:
        """Send a text frame at once; ``False`` when the peer is behind."""
        ...

    def write_ping(self, token: bytes) -> bool:
        """Send a ping at once; ``False`` when the peer is behind."""
        ...


class SocketConnection:
    """The driver's side of one WebSocket: a queue for its writer.

    Args:
        limit: the most characters that may wait for a peer that is behind.
        give_up: called when the bound is reached, before the close is sent.
        direct: takes what is sent while nothing waits, if the server offers it.
    """

    def __init__(
        self, limit: int, give_up: Callable[[], None], direct: DirectSocket | None = None
    ) -> None:
        self.is_closing = False
        self.is_given_up = False
        self._limit = limit
        self._give_up = give_up
        self._direct = direct
        self._queue: deque[tuple[Message, int]] = deque()
        self._late = 0  # what was queued while the peer was behind
        self._is_behind = False
        self._wake = anyio.Event()
        self._writing = anyio.CancelScope()
        self._last: Message | None = None

    def send(self, payload: str) -> None:
        """Send a text frame, at once or through the queue."""
        direct = self._direct
        if direct is not None and self._is_idle() and direct.write(payload):
            return
        self._push({"type": "websocket.send", "text": payload}, len(payload))

    def ping(self, token: str) -> None:
        """Send a ping, at once or through the queue."""
        direct = self._direct
        if direct is not None and self._is_idle() and direct.write_ping(token.encode()):
            return
        self._push({"type": "websocket.ping", "bytes": token.encode()}, len(token))

    def close(self, code: int, reason: str) -> None:
        """Queue the close; what comes after it goes nowhere."""
        if self.is_closing:
            return
        self.is_closing = True
        self._last = _close(code, reason)
        self._queue.append((self._last, 0))
        self._wake.set()
        self._writing.deadline = anyio.current_time() + CLOSE_WAIT

    async def write(self, send: Send) -> None:
        """Send what is queued, in order, until the close is sent or the peer is gone."""
        try:
            with self._writing:
                await self._write_queue(send)
                return
            self.is_given_up = True
            self._give_up()
            if self._last is not None:
                with anyio.move_on_after(CLOSE_WAIT):
                    await send(self._last)
        except OSError:
            # By the ASGI specification: the peer is gone. The reader hears of it as well.
            return

    async def _write_queue(self, send: Send) -> None:
        while True:
            if not self._queue:
                self._wake = anyio.Event()
                await self._wake.wait()
            message, late = self._queue.popleft()
            self._is_behind = True
            await send(message)
            self._is_behind = False
            self._late -= late
            if message is self._last:
                return

    def _is_idle(self) -> bool:
        """Nothing waits and nothing is on its way, so nothing could be overtaken."""
        return not (self._queue or self._is_behind or self.is_closing)

    def _push(self, message: Message, size: int) -> None:
        if self.is_closing:
            return
        late = size if self._is_behind else 0
        if self._late + late > self._limit:
            self.is_closing = True
            self._queue.clear()
            self._last = _close(1013, f"more than {self._limit:,} bytes wait to be read")
            self._writing.cancel()
            return
        self._late += late
        self._queue.append((message, late))
        self._wake.set()


async def serve_websocket(
    driver: Driver, scope: Scope, receive: Receive, send: Send, *, queue_limit: int
) -> None:
    """Serve one WebSocket scope from its connect to its disconnect."""
    await receive()  # websocket.connect, by the ASGI specification
    try:
        await send({"type": "websocket.accept"})
    except OSError:
        return
    name = f"socket-{next(_numbers)}"
    extensions = scope.get("extensions") or {}
    direct: DirectSocket | None = extensions.get(DIRECT_EXTENSION)
    connection = SocketConnection(queue_limit, lambda: driver.disconnect(name), direct)

    def on_message(payload: str | bytes) -> None:
        # What a peer still sends while it is being closed is nobody's any more.
        if not connection.is_closing:
            driver.receive(Frame(name, payload, driver.wall_clock()))

    def on_pong(token: bytes) -> None:
        # What was sent before a close can still be proven read, but not of a peer that the core
        # was told is gone.
        if not connection.is_given_up:
            driver.receive(Ponged(name, bytes(token).decode(errors="replace")))

    pings = PING_EXTENSION in extensions
    try:
        async with anyio.create_task_group() as group:

            async def write() -> None:
                await connection.write(send)
                group.cancel_scope.cancel()

            driver.connect(name, connection, principal_of(scope), pings=pings)
            if direct is not None:
                direct.attach(on_message, on_pong)
            group.start_soon(write)
            code = await _read(receive, on_message, on_pong)
            driver.disconnect(name, code)
            group.cancel_scope.cancel()
    finally:
        driver.disconnect(name)


async def _read(
    receive: Receive,
    on_message: Callable[[str | bytes], None],
    on_pong: Callable[[bytes], None],
) -> int:
    """Hand over what arrives; returns the close code."""
    while True:
        message = await receive()
        match message["type"]:
            case "websocket.receive":
                text = message.get("text")
                on_message(message["bytes"] if text is None else text)
            case "websocket.pong":
                on_pong(message["bytes"])
            case _:  # websocket.disconnect
                return int(message.get("code", 1006))


def _close(code: int, reason: str) -> Message:
    """A close frame holds 123 bytes of reason."""
    fitting = reason.encode()[:123].decode(errors="ignore")
    return {"type": "websocket.close", "code": code, "reason": fitting}
