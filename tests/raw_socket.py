"""A WebSocket client that does nothing by itself: it reads and answers only when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

__all__ = ["RawSocket", "raw_socket"]


class RawSocket:
    """Frames as they are on the wire.

    Attributes:
        protocol: the sans-I/O client; whatever it is told to send goes out with ``flush``.
    """

    def __init__(self, url: str, stream: SocketStream) -> None:
        self.protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._stream = stream
        self._frames: list[Frame] = []

    async def connect(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        await self.receive_handshake()

    async def receive_handshake(self) -> None:
        while self.protocol.state is State.CONNECTING and self.protocol.handshake_exc is None:
            await self._read()

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self._stream.send(data)

    async def flush_at_once(self) -> None:
        """All that waits as one piece, which the server reads at one go."""
        await self._stream.send(b"".join(self.protocol.data_to_send()))

    async def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()

    async def send_frame(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        """Any frame, legal or not."""
        frame = Frame(opcode, data, fin)
        await self._stream.send(frame.serialize(mask=True))

    async def receive(self, *opcodes: Opcode) -> Frame:
        """The next frame of one of these kinds; the others are read over, pings answered."""
        with anyio.fail_after(10):
            while True:
                while self._frames:
                    frame = self._frames.pop(0)
                    if frame.opcode in opcodes:
                        return frame
                await self._read()
                await self.flush()

    async def close_code(self) -> int | None:
        """Read to the end; the code that the server closed with."""
        try:
            with anyio.fail_after(10):
                while True:
                    await self._read()
                    if self.protocol.close_rcvd is not None:
                        await self.flush()  # our part of the closing
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            received = self.protocol.close_rcvd
            return None if received is None else received.code

    async def _read(self) -> None:
        self.protocol.receive_data(await self._stream.receive(1 << 20))
        self._frames += [e for e in self.protocol.events_received() if isinstance(e, Frame)]


@asynccontextmanager
async def raw_socket(http_url: str, path: str = "/") -> AsyncIterator[RawSocket]:
    """Connect to a server's WebSocket; at the end the connection is just dropped."""
    host, _, port = http_url.removeprefix("http://").rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        socket = RawSocket(f"ws://{host}:{port}{path}", stream)
        await socket.connect()
        yield socket
