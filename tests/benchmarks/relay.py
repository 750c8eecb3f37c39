"""The bare relay that the router is compared with: it routes by ``subject_id`` and does nothing else.

No HTTP, no states, no checks, no order of delivery, no memory: about what Python can do at all with
this traffic on this machine at this minute. Its figures have no meaning by themselves; the ratio to
them says what the router's promises cost.
"""

from __future__ import annotations

import asyncio

import msgspec
import uvloop
from framing import Frames, WebSocketServer


class _Route(msgspec.Struct):
    packet_type: str
    subject_id: str


_decode = msgspec.json.Decoder(_Route).decode
_pages: dict[str, Frames] = {}
_core: list[Frames] = []


def on_text(peer: Frames, payload: bytes) -> None:
    packet = _decode(payload)
    if packet.packet_type == "alive":
        if packet.subject_id == "mephisto":
            _core[:] = [peer]
        else:
            _pages[packet.subject_id] = peer
    else:
        to = _pages[packet.subject_id] if peer is _core[0] else _core[0]
        if not to.transport.is_closing():
            to.send(payload)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: WebSocketServer(on_text, lambda _peer, _code: None), "127.0.0.1", 0, backlog=2_048
    )
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
