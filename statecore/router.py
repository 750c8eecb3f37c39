"""``RouterCore``: the router without any I/O. Events in, effects out.

Theory of operation
-------------------
A router stands between pages and a core. Three flows go through it, and each has a module:

1. ``from_page``: frames of pages. A socket speaks for one agent; its live updates go to the core.
2. ``from_core``: frames of the core. Answers go to the POSTs that wait, statuses and updates to pages.
3. ``from_http``: POSTs. They ask the core, or hand it work.

All of them move agents by ``lifecycle.py`` alone and return what is to be done as effects. Time enters
as timers that fired: ``grace`` (an agent's socket is gone), ``request`` and ``orphan`` (a POST waited long
enough), ``sweep`` (who has been silent?), ``retire`` (forget old ends). A refused input changes nothing.

``receive`` never raises for what a peer sent. It raises ``LocalProtocolError`` when the adapter breaks its
side, such as a frame of a connection that it never opened; the core stays usable and unchanged.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import assert_never

from statecore.effects import Close, Count, Effect, SetTimer
from statecore.envelope import decode_envelope
from statecore.errors import LocalProtocolError, PacketDecodeError, RemoteProtocolError
from statecore.events import (
    Closed,
    Event,
    Frame,
    Opened,
    Ponged,
    Request,
    TimerFired,
    TimerKey,
)
from statecore.from_core import attach_core, core_gone, core_packet
from statecore.from_http import http_request, orphan_expired, request_expired
from statecore.from_page import is_system, page_packet
from statecore.lifecycle import LinkTrigger
from statecore.moves import drop, link_died
from statecore.packets import PacketType
from statecore.router_state import (
    CLOSE_NOT_ALLOWED,
    CLOSE_SILENT,
    CLOSE_UNKNOWN,
    Connection,
    RouterState,
)
from statecore.seats import Seat
from statecore.settings import RouterOptions
from statecore.status import LinkState

__all__ = ["RouterCore"]

SWEEP: TimerKey = ("sweep", "")
RETIRE: TimerKey = ("retire", "")

# A socket is silent when so many sweeps in a row have not heard it; a sweep is a third of the limit,
# so silence is noticed between one limit and a third more, and never before.
SWEEPS = 3

_CLOSE_CODES = {"binary-frame": 1003, "not-utf8": 1007, "too-large": 1009}


class RouterCore:
    """The state of one router and its one entry, ``receive``.

    Args:
        options: limits and times.
    """

    def __init__(self, options: RouterOptions | None = None) -> None:
        self.state = RouterState(options or RouterOptions())

    def start(self) -> tuple[Effect, ...]:
        """The effects to perform before any event: the periodic timers."""
        options = self.state.options
        return (
            SetTimer(SWEEP, options.heartbeat_limit / SWEEPS),
            SetTimer(RETIRE, options.finished_kept),
        )

    def receive(self, event: Event) -> tuple[Effect, ...]:
        """Take one event.

        Returns:
            What to do, in order.

        Raises:
            LocalProtocolError: the adapter named a connection that is not open, or opened one
                twice. The core is unchanged and usable.
        """
        out: list[Effect] = []
        match event:
            case Frame():
                self._frame(event, out)
            case Request():
                http_request(self.state, event, out)
            case Opened():
                self._opened(event)
            case Closed():
                self._closed(event, out)
            case Ponged():
                self._ponged(event, out)
            case TimerFired():
                self._timer(event.key, out)
            case _:
                assert_never(event)
        return tuple(out)

    def agent(self, agent_id: str) -> Seat | None:
        """The seat that this id names, to read; for operators and embedders."""
        return self.state.seats.find(agent_id)

    def copy(self) -> RouterCore:
        """An independent copy, for exploring."""
        other = RouterCore.__new__(RouterCore)
        other.state = self.state.copy()
        return other

    def key(self) -> Hashable:
        """Equal for states that behave alike: ids renumbered, offsets relative, no times."""
        return self.state.key()

    def _connection(self, name: str) -> Connection:
        connection = self.state.connections.get(name)
        if connection is None:
            raise LocalProtocolError(
                f"connection {name!r} is not open",
                error_type="unknown-connection",
                expected="Opened before any other event of a connection",
            )
        return connection

    def _opened(self, event: Opened) -> None:
        if event.connection in self.state.connections:
            raise LocalProtocolError(
                f"connection {event.connection!r} is open already",
                error_type="connection-open",
                expected="a name that was not used before",
            )
        self.state.connections[event.connection] = Connection(
            event.connection, event.principal, event.pings
        )
        self.state.core_heard_at = self.state.core_heard_at or event.at

    def _closed(self, event: Closed, out: list[Effect]) -> None:
        connection = self._connection(event.connection)
        del self.state.connections[event.connection]
        if connection.is_core:
            core_gone(self.state, out)
        elif connection.agent_id:
            seat = self.state.seats.find(connection.agent_id)
            assert seat is not None
            self.state.link_closed(seat, out)

    def _ponged(self, event: Ponged, out: list[Effect]) -> None:
        connection = self._connection(event.connection)
        if connection.is_core:
            self.state.outbox.ponged(event.token, out)
        elif connection.agent_id:
            seat = self.state.seats.find(connection.agent_id)
            assert seat is not None
            seat.mailbox.ponged(event.token, out)

    def _frame(self, event: Frame, out: list[Effect]) -> None:
        connection = self._connection(event.connection)
        try:
            if connection.replaced:
                raise RemoteProtocolError(
                    "this connection was replaced by a newer one",
                    error_type="replaced",
                    expected="nothing more on this connection",
                )
            packet = decode_envelope(event.payload, event.at, limit=self.state.options.frame_limit)
            if packet.packet_type not in _TYPES:
                raise RemoteProtocolError(
                    f"unknown packet_type {packet.packet_type[:64]!r}",
                    error_type="unknown-packet-type",
                    field="packet_type",
                    expected=", ".join(sorted(_TYPES)),
                )
            if is_system(packet):
                attach_core(self.state, connection, out)
            elif connection.is_core:
                core_packet(self.state, packet, out)
            else:
                page_packet(self.state, connection, packet, out)
        except PacketDecodeError as error:
            code = _CLOSE_CODES.get(error.error_type)
            if code is None:
                self.state.refuse(event.connection, error, out)
            else:
                out.append(Count("refused", error.error_type))
                out.append(Close(event.connection, code, str(error)))
        except RemoteProtocolError as error:
            self.state.refuse(event.connection, error, out)
            if error.error_type == "not-authenticated":
                out.append(Close(event.connection, CLOSE_NOT_ALLOWED, error.text))

    def _timer(self, key: TimerKey, out: list[Effect]) -> None:
        name, whose = key
        match name:
            case "sweep":
                self._sweep(out)
                out.append(SetTimer(SWEEP, self.state.options.heartbeat_limit / SWEEPS))
            case "retire":
                for seat in self.state.seats.retire():
                    drop(self.state, seat, CLOSE_UNKNOWN, "its end is forgotten", out)
                out.append(SetTimer(RETIRE, self.state.options.finished_kept))
            case "grace":
                lost = self.state.seats.find(whose)
                if lost is not None and lost.fire_link(LinkTrigger.GRACE_OVER) is not None:
                    link_died(self.state, lost, out)
            case "request":
                request_expired(self.state, whose, out)
            case "orphan":
                orphan_expired(self.state, whose, out)
            case _:
                raise LocalProtocolError(
                    f"no timer is called {name!r}",
                    error_type="unknown-timer",
                    expected="a key that SetTimer named",
                )

    def _sweep(self, out: list[Effect]) -> None:
        """Who was not heard? Costs nothing per packet: they only set a flag."""
        for seat in list(self.state.seats):
            if seat.link != LinkState.UP or seat.connection is None:
                continue
            seat.mailbox.ping(out)
            seat.silent = 0 if seat.heard else seat.silent + 1
            seat.heard = False
            if seat.silent >= SWEEPS:
                name = seat.connection
                seat.fire_link(LinkTrigger.SILENT)
                link_died(self.state, seat, out)
                out.append(Close(name, CLOSE_SILENT, "no heartbeat"))
                self.state.connections[name].replaced = True
                self.state.unbind(seat)
        for connection in self.state.connections.values():
            named = connection.is_core or connection.agent_id or connection.replaced
            if not named and connection.idle < SWEEPS:
                connection.idle += 1
                if connection.idle == SWEEPS:
                    out.append(Close(connection.name, CLOSE_SILENT, "no packet named an agent"))


_TYPES = frozenset(PacketType)
