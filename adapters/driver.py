"""Performs effects: the one place where what a core orders is done.

A driver holds one core, its open connections, its timers and the requests that wait for an answer.
Transports turn what happens into events and hand them over; the driver performs the effects that
come back, in order, with one ``match``. It decides nothing:

1. An event is received whole and its effects performed before the next event is received. An
   event that arrives while effects are being performed (a callback fed it) waits its turn.
2. Nothing here blocks. A connection queues what it is given for its own writer, so a slow peer
   never holds up the core.
3. Time enters a core only as ``TimerFired``: one heap, one task, one wake-up event for all timers.
4. What the wire wants stamped is stamped here, when a packet leaves.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, Protocol, TypeAlias, assert_never

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import replace

from statecore.effects import CancelTimer, Close, Count, Ping, Reply, Save, Send, SetTimer
from statecore.envelope import Envelope, encode_envelope
from statecore.errors import LocalProtocolError
from statecore.events import Closed, Opened, Principal, Request, TimerFired, TimerKey

__all__ = ["Clock", "Connection", "Core", "Driver", "Stamp", "SystemClock"]

# The timestamp that this side of the wire writes into a packet that leaves.
Stamp: TypeAlias = Literal["router_outgoing_timestamp", "server_timestamp", "client_timestamp"]

# The common union of effects; what is none of these goes to ``on_effect``.
_COMMON: Final = (Send, Ping, Reply, Close, SetTimer, CancelTimer, Save, Count)


class Core(Protocol):
    """What every core offers: it never acts, it returns what is to be done."""

    def start(self) -> Iterable[object]:
        """The first effects, performed before anything is received."""
        ...

    def receive(self, event: Any, /) -> Iterable[object]:
        """Take one event, return its effects in order."""
        ...


class Connection(Protocol):
    """The sending side of one open connection. No method blocks: each queues for the writer."""

    def send(self, payload: str) -> None:
        """Send a text frame."""
        ...

    def ping(self, token: str) -> None:
        """Send a ping; its pong comes back to the driver as ``Ponged``."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close, after what was queued before."""
        ...


class Clock(Protocol):
    """The time that timers run on."""

    def now(self) -> float:
        """Seconds that never go backwards."""
        ...

    async def wait(self, event: anyio.Event, deadline: float) -> None:
        """Return when the event is set or the time is ``deadline``, whichever is first."""
        ...


class SystemClock:
    """The event loop's own monotonic clock."""

    def now(self) -> float:
        """The event loop's time."""
        return anyio.current_time()

    async def wait(self, event: anyio.Event, deadline: float) -> None:
        """Wait for the event, no longer than to the deadline."""
        with anyio.CancelScope(deadline=deadline):
            await event.wait()


class _Waiter:
    """A request that waits for its ``Reply``."""

    __slots__ = ("answered", "reply")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.reply: Reply | None = None


class Driver:
    """Runs one core: feeds it events, performs its effects.

    Start ``run`` in a task group before anything else, for the core's first effects are performed
    there. Every other call belongs to the same event loop and thread.

    Args:
        core: any core; its effects are those of ``statecore.effects``, or go to ``on_effect``.
        wall_clock: seconds since the epoch, for the timestamps on the wire.
        on_effect: performs effects that are not of the common union.
        on_save: writes a record down before the effects after it are performed.
        stamp: which timestamp a packet gets when it leaves.
        clock: what timers run on.

    Attributes:
        wall_clock: for transports, to stamp the events that they make.
        counters: how often each ``Count`` was ordered, by name and label.
    """

    def __init__(
        self,
        core: Core,
        *,
        wall_clock: Callable[[], float] = time.time,
        on_effect: Callable[[object], None] | None = None,
        on_save: Callable[[bytes], None] | None = None,
        stamp: Stamp = "router_outgoing_timestamp",
        clock: Clock | None = None,
    ) -> None:
        self.core = core
        self.wall_clock = wall_clock
        self.counters: Counter[tuple[str, str]] = Counter()
        self._on_effect = on_effect
        self._on_save = on_save
        self._stamp: Stamp = stamp
        self._connections: dict[str, Connection] = {}
        self._waiters: dict[str, _Waiter] = {}
        self._inbox: deque[object] = deque()
        self._is_performing = False
        self._timers = _Timers(clock or SystemClock())

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Perform the core's first effects, then fire timers until cancelled."""
        self._perform_all(self.core.start())
        self._receive_inbox()
        task_status.started()
        while True:
            await self._timers.wait()
            while (key := self._timers.pop_due()) is not None:
                self.receive(TimerFired(key))

    def connect(
        self, name: str, connection: Connection, principal: Principal, *, pings: bool
    ) -> None:
        """Take an accepted connection, under a name that is never used again.

        Args:
            name: what the core will call it.
            connection: how to send to it.
            principal: who is at its other end.
            pings: ``connection.ping`` works and its pongs are fed as ``Ponged``.
        """
        self._connections[name] = connection
        self.receive(Opened(name, principal, self.wall_clock(), pings))

    def disconnect(self, name: str, code: int = 1006) -> None:
        """Tell the core that a connection is gone, once however often it is called.

        Args:
            name: the connection's.
            code: the close code that came; 1006 when none did.
        """
        if self._connections.pop(name, None) is not None:
            self.receive(Closed(name, code))

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection, because the program is going away."""
        for connection in tuple(self._connections.values()):
            connection.close(code, reason)

    def receive(self, event: object) -> None:
        """Give the core one event and perform its effects.

        Called from within an effect, it queues the event until that event's effects are done.
        """
        self._inbox.append(event)
        if not self._is_performing:
            self._receive_inbox()

    def fire_early(self, key: TimerKey) -> None:
        """Fire a timer before its time; one that is not set stays so."""
        if self._timers.take(key):
            self.receive(TimerFired(key))

    def encode(self, packet: Envelope) -> bytes:
        """A packet as it goes on the wire, stamped with the time of now."""
        return encode_envelope(replace(packet, **{self._stamp: self.wall_clock()}))

    async def request(self, event: Request) -> Reply:
        """Give the core a request and wait for its ``Reply``.

        Cancelled, it forgets the request: the core's reply then goes nowhere.

        Raises:
            LocalProtocolError: a request with this id is already waiting.
        """
        if event.id in self._waiters:
            raise LocalProtocolError(
                f"request {event.id!r} is already waiting",
                error_type="duplicate-request",
                field="id",
                expected="an id that was not used before",
            )
        waiter = self._waiters[event.id] = _Waiter()
        try:
            self.receive(event)
            while waiter.reply is None:
                await waiter.answered.wait()
            return waiter.reply
        finally:
            del self._waiters[event.id]

    def _receive_inbox(self) -> None:
        while self._inbox:
            self._perform_all(self.core.receive(self._inbox.popleft()))

    def _perform_all(self, effects: Iterable[object]) -> None:
        self._is_performing = True
        try:
            for effect in effects:
                self._perform(effect)
        finally:
            self._is_performing = False

    def _perform(self, effect: object) -> None:
        if not isinstance(effect, _COMMON):
            self._perform_other(effect)
            return
        match effect:
            case Send(connection=name, packet=packet):
                if (connection := self._connections.get(name)) is not None:
                    connection.send(self.encode(packet).decode())
            case Ping(connection=name, token=token):
                if (connection := self._connections.get(name)) is not None:
                    connection.ping(token)
            case Reply(request_id=request_id):
                if (waiter := self._waiters.get(request_id)) is not None:
                    waiter.reply = effect
                    waiter.answered.set()
            case Close(connection=name, code=code, reason=reason):
                if (connection := self._connections.get(name)) is not None:
                    connection.close(code, reason)
            case SetTimer(key=key, seconds=seconds):
                self._timers.set(key, seconds)
            case CancelTimer(key=key):
                self._timers.cancel(key)
            case Save(record=record):
                if self._on_save is not None:
                    self._on_save(record)
            case Count(name=name, label=label):
                self.counters[name, label] += 1
            case _:
                assert_never(effect)

    def _perform_other(self, effect: object) -> None:
        if self._on_effect is None:
            raise LocalProtocolError(
                f"nobody performs the effect {type(effect).__name__}",
                error_type="unknown-effect",
                expected="a driver made with on_effect",
            )
        self._on_effect(effect)


class _Timers:
    """A heap of deadlines; a cancelled or renewed timer leaves an entry behind, to be skipped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._serials: dict[TimerKey, int] = {}  # the one entry of each key that counts
        self._last_serial = 0
        self._wake: anyio.Event | None = None

    def set(self, key: TimerKey, seconds: float) -> None:
        self._last_serial += 1
        self._serials[key] = self._last_serial
        entry = (self._clock.now() + seconds, self._last_serial, key)
        heapq.heappush(self._heap, entry)
        if self._wake is not None and self._heap[0] is entry:
            self._wake.set()

    def cancel(self, key: TimerKey) -> None:
        self._serials.pop(key, None)
        # Most timers of a busy router are cancelled long before they are due: without this, their
        # entries would be kept for a minute each.
        if len(self._heap) > 2 * len(self._serials) + 64:
            self._heap = [entry for entry in self._heap if self._counts(entry)]
            heapq.heapify(self._heap)

    def take(self, key: TimerKey) -> bool:
        """Whether this key was set; it no longer is."""
        is_set = key in self._serials
        self.cancel(key)
        return is_set

    def pop_due(self) -> TimerKey | None:
        """The next key whose time has come, which is then no longer set."""
        while self._heap and self._heap[0][0] <= self._clock.now():
            entry = heapq.heappop(self._heap)
            if self._counts(entry):
                del self._serials[entry[2]]
                return entry[2]
        return None

    async def wait(self) -> None:
        """Return when a timer may be due."""
        self._wake = anyio.Event()
        await self._clock.wait(self._wake, self._heap[0][0] if self._heap else math.inf)

    def _counts(self, entry: tuple[float, int, TimerKey]) -> bool:
        return self._serials.get(entry[2]) == entry[1]
