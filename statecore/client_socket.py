"""A page's socket: open again when lost, alive, heartbeats, what was sent and not yet proven read.

It knows nothing of the agent's life: ``ClientCore`` tells it whom it speaks for, and when the work
is over. The link moves by the ``LINK`` table only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec

from statecore.client_events import (
    ClientEffect,
    Ended,
    Ending,
    LinkChanged,
    OpenSocket,
    UpdateLost,
    UpdateSettled,
)
from statecore.delivery import Outbox
from statecore.effects import CancelTimer, Close, Count, Effect, Send, SetTimer
from statecore.envelope import Envelope
from statecore.errors import LocalProtocolError
from statecore.events import Opened, TimerKey
from statecore.lifecycle import LINK, LinkTrigger
from statecore.machine import LifecycleMachine
from statecore.packets import PacketType
from statecore.settings import ClientOptions
from statecore.status import LinkState

__all__ = ["HEARTBEAT", "SWEEP", "PageSocket"]

HEARTBEAT: TimerKey = ("heartbeat", "")
SWEEP: TimerKey = ("core", "")

_links = LifecycleMachine(LINK)

# What a close code ends; after any other the page comes back.
_ENDINGS = {4001: Ending.REPLACED, 4003: Ending.NOT_ALLOWED, 4009: Ending.SEAT_GONE}
# The peer would not read something that we sent: sent again, it would be closed again.
_UNREADABLE = frozenset({1003, 1007, 1009})


class _Tagged(msgspec.Struct):
    update_id: str


_tag = msgspec.json.Decoder(_Tagged)


class PageSocket:
    """The socket of one page, over one connection after the other.

    Attributes:
        link: where it is, by the link's table.
        connection: the open connection, or ``None``.
        is_opening: one was asked for and did not come yet.
        ended: why it stays closed, or ``None``.
    """

    __slots__ = (
        "_attempt",
        "_core_heard",
        "_is_watching",
        "_last_ping",
        "_missed",
        "_options",
        "_outbox",
        "_silent",
        "connection",
        "ended",
        "is_opening",
        "link",
    )

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self.link: str = LinkState.ABSENT.value
        self.connection: str | None = None
        self.is_opening = False
        self.ended: Ending | None = None
        self._outbox = Outbox()
        self._attempt = 0  # sockets tried since the last one that brought a frame
        self._missed = 0  # heartbeats since the last answer
        self._is_watching = False  # the sweep timer is set
        self._core_heard = False  # there was news of the core since the last sweep
        self._silent = 0  # sweeps without news
        self._last_ping: float | None = None

    @property
    def room(self) -> int:
        """How many more live updates can be taken now."""
        return self._options.updates_kept - len(self._outbox)

    def open(self, out: list[ClientEffect]) -> None:
        """Ask for a connection, if there is none, none is coming and one may come."""
        if self.connection is None and not self.is_opening and self.ended is None:
            self._attempt = 0
            self.is_opening = True
            out.append(OpenSocket(0))

    def open_again(self, out: list[ClientEffect]) -> None:
        """Ask for a connection after one was lost or could not be had."""
        self._attempt += 1
        self.is_opening = True
        out.append(OpenSocket(self._attempt))

    def opened(self, event: Opened, agent_id: str, out: list[ClientEffect]) -> None:
        """The connection is there: say whose it is, then all that waits."""
        self.is_opening = False
        self.connection = event.connection
        self._missed = 0
        self._fire(LinkTrigger.OPENED, out)
        out.append(Send(event.connection, Envelope(PacketType.ALIVE, agent_id)))
        out.append(SetTimer(HEARTBEAT, self._options.first_heartbeat))
        if not self._is_watching:
            self._is_watching = True
            out.append(self._next_sweep())
        before = self._update_ids()
        sends: list[Effect] = []
        self._outbox.connect(event.connection, pings=event.pings, out=sends)
        self._settle(before, sends, out)

    def closed(self, code: int, out: list[ClientEffect]) -> Ending | None:
        """The connection is gone; says why it must stay so, or ``None``."""
        if code in _UNREADABLE:
            self.lose_updates(out)
        self._forget(out)
        return _ENDINGS.get(code)

    def drop(self, code: int, reason: str, out: list[ClientEffect]) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            out.append(Close(self.connection, code, reason))
            self._forget(out)

    def end(self, why: Ending, out: list[ClientEffect]) -> None:
        """Close for good."""
        self.is_opening = False
        self.drop(1000, why, out)
        self._fire(LinkTrigger.GRACE_OVER, out)
        self.lose_updates(out)
        if self._is_watching:
            self._is_watching = False
            out.append(CancelTimer(SWEEP))
        self.ended = why
        out.append(Ended(why))

    def heard(self) -> None:
        """A frame came: the connection is a good one."""
        self._attempt = 0

    # --- live updates ------------------------------------------------------------------------

    def send(self, packet: Envelope, update_id: str, out: list[ClientEffect]) -> None:
        """Send a live update, now or when there is a connection.

        Raises:
            LocalProtocolError: too many wait already; nothing has changed.
        """
        before = len(self._outbox)
        if self.room <= 0 or not self._outbox.has_room(packet, self._options.updates_bytes):
            raise LocalProtocolError(
                f"{before} live updates wait already",
                error_type="too-many-updates",
                expected="wait for UpdateSettled first",
            )
        sends: list[Effect] = []
        self._outbox.add(packet, sends)
        out.extend(sends)
        if len(self._outbox) == before:
            out.append(UpdateSettled(update_id))

    def ponged(self, token: str, out: list[ClientEffect]) -> None:
        """The router has read everything up to this token."""
        before = self._update_ids()
        pings: list[Effect] = []
        self._outbox.ponged(token, pings)
        self._settle(before, pings, out)

    def lose_updates(self, out: list[ClientEffect]) -> None:
        """Give up what is not known to be delivered."""
        out.extend(UpdateLost(update_id) for update_id in self._update_ids())
        connection, pings = self._outbox.connection, self._outbox.pings
        self._outbox = Outbox()
        if connection is not None:
            self._outbox.connect(connection, pings=pings, out=[])

    def _settle(
        self, before: Sequence[str], effects: list[Effect], out: list[ClientEffect]
    ) -> None:
        """The oldest are settled first, so their number says which they are."""
        out.extend(effects)
        settled = len(before) - len(self._outbox)
        out.extend(UpdateSettled(update_id) for update_id in before[:settled])

    def _update_ids(self) -> list[str]:
        entries = (*self._outbox.sent, *self._outbox.waiting)
        return [_tag.decode(bytes(entry.packet.data)).update_id for entry in entries]

    # --- is anybody there? -------------------------------------------------------------------

    def heartbeat(self, agent_id: str, out: list[ClientEffect]) -> None:
        """Its time has come: say that we live, and ask for proof of what was sent."""
        if self.connection is None:
            out.append(Count("stray-timer"))
            return
        if self._missed >= self._options.missed_answers:
            self.drop(1001, "no answers", out)
            self.open_again(out)
            return
        self._missed += 1
        out.append(Send(self.connection, Envelope(PacketType.HEARTBEAT, agent_id)))
        out.append(SetTimer(HEARTBEAT, self._options.heartbeat_every))
        pings: list[Effect] = []
        self._outbox.ping(pings)
        out.extend(pings)

    def answered(self, data: dict[str, Any], out: list[ClientEffect]) -> None:
        """A heartbeat's answer: when the router last heard of the core, in its own words."""
        self._missed = 0
        ping = data.get("last_mephisto_ping")
        if isinstance(ping, bool) or not isinstance(ping, int | float):
            out.append(Count("bad-data"))
        elif ping == 0:  # never: what a router says to a page that a newer tab replaced
            self.end(Ending.REPLACED, out)
        elif ping != self._last_ping:
            self._last_ping = ping
            self._core_heard = True

    def sweep(self, out: list[ClientEffect]) -> bool:
        """Whether the core has been silent for too long; sets the next sweep when it has not."""
        if not self._is_watching:
            out.append(Count("stray-timer"))
            return False
        self._silent = 0 if self._core_heard else self._silent + 1
        self._core_heard = False
        if self._silent >= self._options.core_sweeps:
            return True
        out.append(self._next_sweep())
        return False

    def _next_sweep(self) -> SetTimer:
        return SetTimer(SWEEP, self._options.core_silence / self._options.core_sweeps)

    def _forget(self, out: list[ClientEffect]) -> None:
        self.connection = None
        self._outbox.disconnect()
        out.append(CancelTimer(HEARTBEAT))
        self._fire(LinkTrigger.CLOSED, out)

    def _fire(self, trigger: str, out: list[ClientEffect]) -> None:
        before = self.link
        _links.fire(self, trigger)
        if self.link != before:
            out.append(LinkChanged(self.link))

    # --- for the model checker ---------------------------------------------------------------

    def copy(self) -> PageSocket:
        """An independent copy."""
        other = PageSocket(self._options)
        for name in PageSocket.__slots__:
            setattr(other, name, getattr(self, name))
        other._outbox = self._outbox.copy()
        return other

    def key(self, rename: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable. The last ping is a time: only whether it was news counts."""
        return (
            self.link,
            rename(self.connection or ""),
            self.is_opening,
            self.ended,
            min(self._attempt, 1),
            self._missed,
            self._is_watching,
            self._core_heard,
            self._silent,
            self._last_ping is None,
            self._outbox.pings,
            0 if self._outbox.proving is None else 1 + self._outbox.proving - self._first_offset,
            tuple(bytes(entry.packet.data) for entry in self._outbox.sent),
            tuple(bytes(entry.packet.data) for entry in self._outbox.waiting),
        )

    @property
    def _first_offset(self) -> int:
        entries = self._outbox.sent or self._outbox.waiting
        return entries[0].offset if entries else self._outbox.next_offset
