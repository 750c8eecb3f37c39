"""Just enough of RFC 6455 for a load generator: text frames, pings, closes, on asyncio's transports.

A generator that costs as much as the router would measure itself. Frames are masked with a key of
zeros, which the standard allows a sender to draw and which leaves the payload as it is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from typing import cast

__all__ = ["Frames", "WebSocketClient", "WebSocketServer", "connect"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class Frames(asyncio.Protocol):
    """One connection; ``on_text`` gets each message's bytes, ``on_end`` the close code, once."""

    def __init__(
        self, on_text: Callable[[Frames, bytes], None], on_end: Callable[[Frames, int], None]
    ) -> None:
        self.on_text = on_text
        self.on_end = on_end
        self.name = ""  # whose it is; for the user of this class
        self.is_open = False
        self._code = 1006
        self._mask = b""
        self._buffer = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.on_end(self, self._code)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self.is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(buffer[:end])
            del buffer[: end + 4]
            self.shake_hands(head)
        at, size = 0, len(buffer)
        while size - at >= 2:
            first, second = buffer[at], buffer[at + 1]
            length, start = second & 127, at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            key = b""
            if second & 128:
                key, start = bytes(buffer[start : start + 4]), start + 4
            if size < start + length:
                break
            payload = bytes(buffer[start : start + length])
            at = start + length
            if key.strip(b"\0"):
                payload = _unmask(payload, key)
            self._frame(first, payload)
        del buffer[:at]

    def shake_hands(self, head: bytes) -> None:
        """Read the peer's part of the handshake."""
        raise NotImplementedError

    def send(self, payload: bytes, opcode: int = _TEXT) -> None:
        """Send one frame."""
        length, bit = len(payload), 128 if self._mask else 0
        if length < 126:
            header = bytes((128 | opcode, bit | length))
        elif length < 65_536:
            header = bytes((128 | opcode, bit | 126)) + length.to_bytes(2, "big")
        else:
            header = bytes((128 | opcode, bit | 127)) + length.to_bytes(8, "big")
        self.transport.write(header + self._mask + payload)

    def close(self) -> None:
        """Say goodbye; the peer ends the connection."""
        if self.is_open:
            self.send((1000).to_bytes(2, "big"), _CLOSE)

    def _frame(self, first: int, payload: bytes) -> None:
        opcode = first & 15
        if opcode == _TEXT and first & 128:
            self.on_text(self, payload)
        elif opcode == _PING:
            self.send(payload, _PONG)
        elif opcode == _CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            if self.is_open:
                self.send(payload[:2], _CLOSE)
            self.transport.close()
        elif opcode != _PONG:
            raise RuntimeError(f"frame with first byte {first:#x}: a router never fragments")


class WebSocketClient(Frames):
    """A page's or a core's end."""

    def __init__(
        self,
        on_text: Callable[[Frames, bytes], None],
        on_end: Callable[[Frames, int], None],
        host: str,
    ) -> None:
        super().__init__(on_text, on_end)
        self._host = host
        self._mask = bytes(4)
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET / HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def shake_hands(self, head: bytes) -> None:
        if b" 101 " not in head[:20]:
            raise RuntimeError(f"no WebSocket: {head[:60]!r}")
        self.is_open = True
        self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed in the handshake"))


class WebSocketServer(Frames):
    """A bare server's end."""

    def shake_hands(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        [key] = [
            line[19:].strip() for line in lines if line.lower().startswith(b"sec-websocket-key:")
        ]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.is_open = True
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )


async def connect(
    host: str,
    port: int,
    on_text: Callable[[Frames, bytes], None],
    on_end: Callable[[Frames, int], None],
) -> WebSocketClient:
    """Open a connection and wait for the handshake."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: WebSocketClient(on_text, on_end, f"{host}:{port}"), host, port
    )
    await client.opened
    return client


def _unmask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")
