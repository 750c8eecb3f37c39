"""A WebSocket protocol class for uvicorn (``ws=``) that lets an application ping and hear the pong.

Plain ASGI has no pings. This class adds the scope extension ``statecore.ping``: the application
sends ``{"type": "websocket.ping", "bytes": token}``, and when the peer answers it receives
``{"type": "websocket.pong", "bytes": token}``, in order with the messages around it.

uvicorn's own keepalive pings carry four random bytes; ours begin with a longer prefix, so neither
is ever taken for the other. A pong that answers no ping of ours is not passed on.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections import deque
from collections.abc import Coroutine
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from statecore.adapters.asgi_websocket import PING_EXTENSION

__all__ = ["PING_PREFIX", "PingableWebSocket"]

PING_PREFIX = b"statecore:"


class PingableWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's sans-I/O WebSocket protocol with the extension ``statecore.ping``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pings: deque[bytes] = deque()
        self._abort_timer: TimerHandle | None = None

    def handle_connect(self, event: Request) -> None:
        """Offer the extension; the application's task, made here, has not begun to run yet."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, Any], self.scope["extensions"])[PING_EXTENSION] = {}

    def handle_pong(self, event: Frame) -> None:
        """Report the pong of one of our pings; it answers all that were sent before it, too."""
        payload = bytes(event.data)
        if not payload.startswith(PING_PREFIX):
            super().handle_pong(event)
            return
        if payload in self._pings:
            while self._pings.popleft() != payload:
                pass
            pong = {"type": "websocket.pong", "bytes": payload.removeprefix(PING_PREFIX)}
            self.queue.put_nowait(cast(Any, pong))

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """Take the application's message."""
        kind = message["type"]
        if kind == "websocket.ping":
            return self._send_ping(message["bytes"])
        if kind == "websocket.send" and self.close_sent:
            # The server closed by itself (a frame too large, no pong): the application could not
            # know yet, so this is no misuse of its own.
            raise ClientDisconnected
        if kind == "websocket.close":
            # The last frame need not wait for a peer that is behind.
            self.writable.set()
        return super().send(message)

    async def run_asgi(self) -> None:
        """Run the application; then do not wait for ever for a peer that reads nothing."""
        await super().run_asgi()
        if not self.disconnected:
            self._abort_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        super().connection_lost(exc)
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    async def _send_ping(self, token: bytes) -> None:
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        payload = PING_PREFIX + token
        self._pings.append(payload)
        self.conn.send_ping(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
