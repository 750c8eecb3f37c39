"""A WebSocket byte by byte, for frames that no client would send."""

from __future__ import annotations

import anyio
from anyio.abc import SocketStream

__all__ = ["WAIT", "Wire"]

WAIT = 10.0  # seconds until a test fails because something did not come


class Wire:
    """A WebSocket byte by byte, for frames that no client would send."""

    def __init__(self, stream: SocketStream) -> None:
        self.head = b""  # of the answer to the handshake
        self._stream = stream
        self._bytes = b""

    async def shake_hands(self, path: str, headers: str) -> None:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: router\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        )
        await self._stream.send(f"{request}{headers}\r\n".encode())
        with anyio.fail_after(WAIT):
            while b"\r\n\r\n" not in self._bytes:
                self._bytes += await self._stream.receive()
        self.head, _, self._bytes = self._bytes.partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 ")

    async def send(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """A frame; masked, as it must be, with zeros."""
        size = len(payload)
        head = bytes([opcode | 0x80 * fin])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
        await self._stream.send(head + bytes(4) + payload)

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: its opcode and payload."""
        with anyio.fail_after(WAIT):
            opcode, size = await self._take(2)
            if size == 126:
                size = int.from_bytes(await self._take(2), "big")
            elif size == 127:
                size = int.from_bytes(await self._take(8), "big")
            return opcode & 0x0F, await self._take(size)

    async def close_code(self) -> int:
        """The code of the close frame, before which at most text frames come."""
        while True:
            opcode, payload = await self.receive()
            if opcode == 0x8:
                return int.from_bytes(payload[:2], "big")
            assert opcode == 0x1

    async def cut(self) -> None:
        """Lose the connection, without a word of WebSocket."""
        await anyio.aclose_forcefully(self._stream)

    async def _take(self, count: int) -> bytes:
        while len(self._bytes) < count:
            self._bytes += await self._stream.receive()
        taken, self._bytes = self._bytes[:count], self._bytes[count:]
        return taken
