"""A real WebSocket server for tests, small enough to misbehave on purpose.

The protocol is `websockets`' sans-I/O ``ServerProtocol`` over an anyio listener on loopback, so it
runs on asyncio and trio alike.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

__all__ = ["ServerSide", "serve_websockets"]


class ServerSide:
    """The server's end of one connection."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.protocol = ServerProtocol()
        self.request: Request | None = None
        self.is_gone = anyio.Event()

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send(data)

    async def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.protocol.send_close(code, reason)
        await self.flush()

    async def cut(self) -> None:
        """Lose the connection, without a word of WebSocket."""
        await anyio.aclose_forcefully(self.stream)

    async def receive(self) -> Frame | None:
        """The next frame that arrived, pings and pongs too; ``None`` at the end of the stream."""
        while True:
            for event in self._events():
                return event
            try:
                data = await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return None
            self.protocol.receive_data(data)
            self._events_left.extend(
                event for event in self.protocol.events_received() if isinstance(event, Frame)
            )
            if self.protocol.close_expected():
                await self.flush()
                await self.stream.aclose()
            else:
                await self.flush()

    async def receive_text(self) -> str | None:
        """The next text message, or ``None`` at the end."""
        while (frame := await self.receive()) is not None:
            if frame.opcode is Opcode.TEXT:
                return bytes(frame.data).decode()
        return None

    _events_left: list[Frame]

    def _events(self) -> list[Frame]:
        return [self._events_left.pop(0)] if self._events_left else []

    async def shake_hands(self, refuse_with: int | None = None) -> bool:
        self._events_left = []
        while self.request is None:
            try:
                self.protocol.receive_data(await self.stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return False
            for event in self.protocol.events_received():
                assert isinstance(event, Request)
                self.request = event
        if refuse_with is not None:
            self.protocol.send_response(self.protocol.reject(refuse_with, "no"))
        else:
            self.protocol.send_response(self.protocol.accept(self.request))
        await self.flush()
        return refuse_with is None


@asynccontextmanager
async def serve_websockets(
    talk: Callable[[ServerSide], Awaitable[None]],
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    refuse_with: int | None = None,
) -> AsyncGenerator[str]:
    """Serve on a free port of loopback; yields the address. ``talk`` runs for each connection."""

    async def handle(stream: ByteStream) -> None:
        side = ServerSide(stream)
        try:
            async with stream:
                if await side.shake_hands(refuse_with):
                    await talk(side)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass
        finally:
            side.is_gone.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    bound = listener.extra(SocketAttribute.local_port)
    wrapped = listener if tls is None else TLSListener(listener, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(wrapped.serve, handle)
        try:
            yield f"{'wss' if tls else 'ws'}://127.0.0.1:{bound}/"
        finally:
            tasks.cancel_scope.cancel()
