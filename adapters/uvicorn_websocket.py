"""A WebSocket protocol class for uvicorn (``ws=``) that offers more than plain ASGI has.

The scope gets two extensions:

``statecore.ping``: the application sends ``{"type": "websocket.ping", "bytes": token}``, and when
the peer answers it receives ``{"type": "websocket.pong", "bytes": token}``. uvicorn's own keepalive
pings carry four random bytes; ours begin with a longer prefix, so neither is ever taken for the
other. A pong that answers no ping of ours is not passed on.

``statecore.direct``: the protocol itself, as a ``DirectSocket``. What arrives is handed to a
callback at once, and what is sent while the peer keeps up is written at once: no queue and no task
switch for a message. When the peer is behind, the application sends through ASGI, which waits.
Reading need not stop for each message, as uvicorn's does, for a callback leaves none behind.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN

from statecore.adapters.asgi_websocket import DIRECT_EXTENSION, PING_EXTENSION

__all__ = ["PING_PREFIX", "PingableWebSocket"]

PING_PREFIX = b"statecore:"


class PingableWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's sans-I/O WebSocket protocol with both extensions."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pings: deque[bytes] = deque()
        self._abort_timer: TimerHandle | None = None
        self._on_message: Callable[[str | bytes], None] | None = None
        self._on_pong: Callable[[bytes], None] | None = None
        self._is_lingering = False

    def data_received(self, data: bytes) -> None:
        """Bytes came; of a peer that was closed for what it sent, the rest is thrown away."""
        if not self._is_lingering:
            super().data_received(data)

    def attach(
        self, on_message: Callable[[str | bytes], None], on_pong: Callable[[bytes], None]
    ) -> None:
        """Hand over what arrives from now on, and first what has arrived already."""
        self._on_message, self._on_pong = on_message, on_pong
        for _ in range(self.queue.qsize()):
            message: Any = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                text = message.get("text")
                on_message(message["bytes"] if text is None else text)
            else:
                self.queue.put_nowait(message)  # its end: behind all messages, as it came
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def write(self, text: str) -> bool:
        """Send at once; ``False``, with nothing sent, while the peer is behind."""
        if not self.writable.is_set():
            return False
        if self._can_send():
            self.conn.send_text(text.encode())
            self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def write_ping(self, token: bytes) -> bool:
        """Ping at once; ``False``, with nothing sent, while the peer is behind."""
        if not self.writable.is_set():
            return False
        if self._can_send():
            payload = PING_PREFIX + token
            self._pings.append(payload)
            self.conn.send_ping(payload)
            self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def send_receive_event_to_app(self) -> None:
        """A message is whole."""
        if self._on_message is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        payload: str | bytes = bytes(data)
        if self.curr_msg_data_type == "text":
            try:
                payload = data.decode()
            except UnicodeDecodeError:
                self.conn.send_close(CloseCode.INVALID_DATA, "text that is not UTF-8")
                self.handle_parser_exception()
                return
        self._on_message(payload)

    def handle_connect(self, event: Request) -> None:
        """Offer the extensions; the application's task, made here, has not begun to run yet."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            scope: Any = self.scope
            extensions = scope["extensions"]
            extensions[PING_EXTENSION] = {}
            extensions[DIRECT_EXTENSION] = self

    def handle_pong(self, event: Frame) -> None:
        """Report the pong of one of our pings; it answers all that were sent before it, too."""
        payload = bytes(event.data)
        if not payload.startswith(PING_PREFIX):
            super().handle_pong(event)
            return
        if payload in self._pings:
            while self._pings.popleft() != payload:
                pass
            token = payload.removeprefix(PING_PREFIX)
            if self._on_pong is not None:
                self._on_pong(token)
            else:
                self.queue.put_nowait(cast(Any, {"type": "websocket.pong", "bytes": token}))

    def handle_parser_exception(self) -> None:
        """Close for what the peer sent, and read on without looking until it has heard why.

        A socket that is closed with bytes unread is reset, and the peer, still sending its large
        frame, would never see the close frame with the reason.
        """
        assert self.conn.close_sent is not None
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.stop_keepalive()
        self.close_sent = True
        self._is_lingering = True
        if self.transport.is_closing():
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():  # TLS cannot
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    async def send(self, message: Any) -> None:
        """Take the application's message."""
        match message["type"]:
            case "websocket.ping":
                while not self.write_ping(message["bytes"]):
                    await self.writable.wait()
                if not self._can_send():
                    raise ClientDisconnected
                return
            case "websocket.send" if self.close_sent:
                # The server closed by itself (a frame too large, no pong): the application could
                # not know yet, so this is no misuse of its own.
                raise ClientDisconnected
            case "websocket.close":
                # The last frame need not wait for a peer that is behind.
                self.writable.set()
            case _:
                pass
        await super().send(message)

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

    def _can_send(self) -> bool:
        # The server may have closed by itself: a frame too large, no pong.
        return self.conn.state is OPEN and not self.transport.is_closing()
