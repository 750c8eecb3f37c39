"""What waits to be sent, and what was sent and is not yet proven read.

The wire has no acknowledgements. A WebSocket ping after a batch is the next best thing: its pong
proves that the peer's library has read all before it. So a sent packet stays here until such a pong,
and is sent again after a reconnect; where the transport has no pings, handing it over is all the proof
there is (docs/protocol.md, "Delivery"). A ping follows every ``PING_EVERY`` packets, and whatever is
left when the owner's periodic timer asks: proof that comes late costs a few repeats after a reconnect,
which the ids in the packets let the peer drop, and a ping per packet would double the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

import msgspec

from statecore.effects import Effect, Ping, Send
from statecore.envelope import Envelope
from statecore.packets import PacketType

__all__ = ["PING_EVERY", "Entry", "Mailbox", "Outbox", "weight"]

PING_EVERY = 16

# The keys and four timestamps of 24 characters around ``data``, rounded up.
OVERHEAD = 320


def weight(packet: Envelope) -> int:
    """The most bytes that a packet has on the wire; what the bounds count."""
    return OVERHEAD + 6 * len(packet.subject_id) + len(bytes(packet.data))


class Entry(msgspec.Struct, frozen=True):
    """One packet with its place in the order.

    Args:
        offset: counts up from 1; the token of a ping is the offset that it proves.
        packet: what is sent.
        handled_by: for work, what shows that the core handled it: ``("request", id)`` or
            ``("agent", id)``; ``None`` where a pong is proof enough.
    """

    offset: int
    packet: Envelope
    handled_by: tuple[str, str] | None = None

    @property
    def size(self) -> int:
        """Bytes, about; what the bounds count."""
        return weight(self.packet)

    def key(self, base: int, rename: Callable[[str], Hashable]) -> Hashable:
        """Without times, with ids renamed and with the offset relative to the oldest."""
        packet, by = self.packet, self.handled_by
        asks = packet.packet_type in (PacketType.REGISTER_AGENT, PacketType.SUBMIT_ONBOARDING)
        return (
            self.offset - base,
            packet.packet_type,
            rename(packet.subject_id),
            b"" if asks else bytes(packet.data),  # of a question it holds the request's id
            None if by is None else (by[0], rename(by[1])),
        )


class _Flow:
    """An ordered flow of packets to one peer, over one connection after the other."""

    __slots__ = ("connection", "next_offset", "pings", "proving", "sent", "size", "waiting")

    def __init__(self) -> None:
        self.connection: str | None = None
        self.pings = False
        self.next_offset = 1
        self.proving: int | None = None  # the offset of the ping on its way
        self.waiting: deque[Entry] = deque()  # not sent on this connection
        self.sent: deque[Entry] = deque()  # sent on it, not proven read
        self.size = 0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.sent)

    def connect(self, connection: str, *, pings: bool, out: list[Effect]) -> None:
        """Send over this connection from now on; first all that waits, in order."""
        self.disconnect()
        self.connection, self.pings = connection, pings
        waiting, self.waiting = self.waiting, deque()
        for entry in waiting:
            self._send(entry, out)

    def disconnect(self) -> None:
        """The connection is gone: what it did not prove waits again, in order."""
        self.connection = None
        self.proving = None
        self.waiting.extendleft(reversed(self.sent))
        self.sent.clear()

    def ping(self, out: list[Effect]) -> None:
        """Ask for proof of all that is sent, unless a ping is on its way already."""
        if self.connection is not None and self.pings and self.sent and self.proving is None:
            self.proving = self.sent[-1].offset
            out.append(Ping(self.connection, str(self.proving)))

    def ponged(self, token: str, out: list[Effect]) -> None:
        """The peer has read everything up to this token; a foreign token proves nothing."""
        if self.proving is None or token != str(self.proving):
            return
        proven, self.proving = self.proving, None
        while self.sent and self.sent[0].offset <= proven:
            self._settled(self.sent.popleft())
        if len(self.sent) >= PING_EVERY:
            self.ping(out)

    def _settled(self, entry: Entry) -> None:
        self.size -= entry.size

    def _send(self, entry: Entry, out: list[Effect]) -> None:
        assert self.connection is not None
        out.append(Send(self.connection, entry.packet))
        if not self.pings:
            self._settled(entry)
            return
        self.sent.append(entry)
        if len(self.sent) >= PING_EVERY:
            self.ping(out)

    def _key(
        self, rename: Callable[[str], Hashable], socket: Callable[[str], Hashable]
    ) -> Hashable:
        entries = self.sent or self.waiting
        first = entries[0].offset if entries else self.next_offset
        return (
            socket(self.connection or ""),
            self.pings,
            None if self.proving is None else self.proving - first,
            tuple(entry.key(first, rename) for entry in self.sent),
            tuple(entry.key(first, rename) for entry in self.waiting),
        )

    def _copy_to(self, other: _Flow) -> None:
        for name in ("connection", "pings", "next_offset", "proving", "size"):
            setattr(other, name, getattr(self, name))
        other.waiting, other.sent = self.waiting.copy(), self.sent.copy()


class Mailbox(_Flow):
    """What the core sent to one page: in order, bounded, resent after a reconnect (S3).

    At the bound the oldest goes, for a page that comes back can still use the newest.
    """

    __slots__ = ()

    def welcome(self, status: Envelope) -> None:
        """Before a socket is connected: let exactly one status wait, the current one.

        It takes the place of the newest one that waits, so that the order holds; else it is first,
        and a page that reloaded has a status at once. Older ones would only flicker.
        """
        self.disconnect()
        place = -1
        for index, entry in enumerate(self.waiting):
            if entry.packet.packet_type == PacketType.UPDATE_STATUS:
                place = index
        kept: deque[Entry] = deque()
        if place < 0:
            # An offset before all others; 0 is never given out, so it is free.
            kept.append(
                Entry(self.waiting[0].offset - 1 if self.waiting else self.next_offset, status)
            )
            if not self.waiting:
                self.next_offset += 1
        for index, entry in enumerate(self.waiting):
            if index == place:
                kept.append(Entry(entry.offset, status))
            elif entry.packet.packet_type != PacketType.UPDATE_STATUS:
                kept.append(entry)
        self.waiting = kept
        self.size = sum(entry.size for entry in kept)

    def add(self, packet: Envelope, *, packets: int, size: int, out: list[Effect]) -> int:
        """Send a packet now, or when there is a socket; returns how many old ones were dropped."""
        entry = Entry(self.next_offset, packet)
        self.next_offset += 1
        self.size += entry.size
        if self.connection is None:
            self.waiting.append(entry)
        else:
            self._send(entry, out)
        dropped = 0
        while len(self) > packets or (self.size > size and len(self) > 1):
            self._settled(self.sent.popleft() if self.sent else self.waiting.popleft())
            dropped += 1
        return dropped

    def clear(self) -> None:
        """Forget it all: a reloaded page finds it in ``past_live_updates``."""
        self.waiting.clear()
        self.sent.clear()
        self.size = 0

    def copy(self) -> Mailbox:
        """An independent copy."""
        other = Mailbox()
        self._copy_to(other)
        return other

    def key(self, rename: Callable[[str], Hashable], socket: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, with ids and connections renamed and without times."""
        return self._key(rename, socket)


class Outbox(_Flow):
    """What goes to the core: in order, bounded by bytes, kept until proven (S2).

    A pong settles a live update or an error log. Work (``handled_by``) stays until the core shows
    that it handled it. ``register_agent`` is sent once and never again: two units would be taken.
    """

    __slots__ = ("unhandled",)

    def __init__(self) -> None:
        super().__init__()
        self.unhandled: dict[tuple[str, str], list[Entry]] = {}

    def disconnect(self) -> None:
        """The core is away: what it did not prove waits again, except registrations."""
        lost = [e for e in self.sent if e.packet.packet_type == PacketType.REGISTER_AGENT]
        again = [e for e in self.sent if e.packet.packet_type != PacketType.REGISTER_AGENT]
        for entries in self.unhandled.values():
            again.extend(entries)
        for entry in lost:
            self._settled(entry)
        self.unhandled.clear()
        self.sent = deque(sorted(again, key=lambda entry: entry.offset))
        super().disconnect()

    def has_room(self, packet: Envelope, limit: int) -> bool:
        """Whether this packet fits under the bound."""
        return self.size + weight(packet) <= limit

    def add(
        self, packet: Envelope, out: list[Effect], handled_by: tuple[str, str] | None = None
    ) -> None:
        """Send a packet now, or when the core is back; ask ``has_room`` first."""
        entry = Entry(self.next_offset, packet, handled_by)
        self.next_offset += 1
        self.size += entry.size
        if self.connection is None:
            self.waiting.append(entry)
        else:
            self._send(entry, out)

    def unsent(self) -> set[str]:
        """The request ids of the registrations that still wait to be sent."""
        return {
            entry.packet.subject_id
            for entry in self.waiting
            if entry.packet.packet_type == PacketType.REGISTER_AGENT
        }

    def withdraw(self, request_id: str) -> bool:
        """Take back a registration that was not sent; ``False`` when it is not there any more."""
        before = len(self.waiting)
        self._keep(lambda packet: not _asks(packet, request_id))
        return len(self.waiting) < before

    def forget(self, agent_id: str) -> None:
        """Nothing about this agent may be sent any more: its id is nobody's or somebody else's now."""
        self.handled(("agent", agent_id))
        others = (PacketType.REGISTER_AGENT, PacketType.LOG_ERROR)  # no agent is needed for these
        self._keep(lambda packet: packet.packet_type in others or packet.subject_id != agent_id)

    def _keep(self, stays: Callable[[Envelope], bool]) -> None:
        for entries in (self.waiting, self.sent):
            kept = [entry for entry in entries if stays(entry.packet)]
            for entry in entries:
                if not stays(entry.packet):
                    self._settled(entry)
            entries.clear()
            entries.extend(kept)

    def handled(self, by: tuple[str, str]) -> None:
        """The core showed that it handled this work: it need not be sent again."""
        for entry in self.unhandled.pop(by, ()):
            self._settled(entry)

    def proof_is_enough(self, by: tuple[str, str]) -> None:
        """Nothing more will show that this was handled: from now on a pong settles it."""
        self.waiting = deque(_plain(e) if e.handled_by == by else e for e in self.waiting)
        plain = [_plain(entry) for entry in self.unhandled.pop(by, ())]
        if self.pings:
            self.sent = deque(sorted([*self.sent, *plain], key=lambda entry: entry.offset))
        else:
            for entry in plain:
                self._settled(entry)

    def copy(self) -> Outbox:
        """An independent copy."""
        other = Outbox()
        self._copy_to(other)
        other.unhandled = {by: entries.copy() for by, entries in self.unhandled.items()}
        return other

    def key(self, rename: Callable[[str], Hashable], socket: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, with ids and connections renamed and without times."""
        return (
            self._key(rename, socket),
            frozenset(
                (kind, rename(name), tuple(entry.key(entry.offset, rename) for entry in entries))
                for (kind, name), entries in self.unhandled.items()
            ),
        )

    def _send(self, entry: Entry, out: list[Effect]) -> None:
        if entry.handled_by is None:
            super()._send(entry, out)
            return
        assert self.connection is not None
        out.append(Send(self.connection, entry.packet))
        self.unhandled.setdefault(entry.handled_by, []).append(entry)


def _plain(entry: Entry) -> Entry:
    return Entry(entry.offset, entry.packet)


def _asks(packet: Envelope, request_id: str) -> bool:
    """Whether this is the registration with this request id."""
    return (packet.packet_type, packet.subject_id) == (PacketType.REGISTER_AGENT, request_id)
