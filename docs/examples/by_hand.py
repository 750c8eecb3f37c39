"""The effects of a core performed by hand: for threads, a game's loop, a framework without asyncio.

It does what ``statecore.adapters.driver`` does, with a lock instead of an event loop. Call ``receive``
for what happens, from any thread, and ``tick`` when the time comes that it returned.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, assert_never

from msgspec.structs import replace

from statecore import (
    CancelTimer,
    Close,
    Count,
    Effect,
    Envelope,
    Event,
    Ping,
    Reply,
    RouterCore,
    Save,
    Send,
    SetTimer,
    TimerFired,
    encode_envelope,
)
from statecore.events import TimerKey

__all__ = ["ByHand", "Socket"]


class Socket(Protocol):
    """What your transport offers for each connection: no call may block, raise or feed an event."""

    def send(self, text: str) -> None:
        """Send a text frame, after what was sent before."""

    def ping(self, token: str) -> None:
        """Send a ping; feed ``Ponged`` when its pong comes."""

    def close(self, code: int, reason: str) -> None:
        """Close, after what was sent before; feed ``Closed`` when it is gone."""


class ByHand:
    """One core and all that it orders."""

    def __init__(self, core: RouterCore, clock: Callable[[], float] = time.monotonic) -> None:
        self.core = core
        self.sockets: dict[str, Socket] = {}  # by the name that you gave to Opened
        self.waiting: dict[str, Callable[[Reply], None]] = {}  # by the id that you gave to Request
        self.counters: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._timers: dict[TimerKey, float] = {}
        self._lock = threading.RLock()
        for effect in core.start():
            self._perform(effect)

    def receive(self, event: Event) -> None:
        """One event: the core takes it whole, and its effects are performed before the next."""
        with self._lock:
            for effect in self.core.receive(event):
                self._perform(effect)

    def tick(self) -> float:
        """Fire the timers that are due; returns in how many seconds to call this again."""
        with self._lock:
            now = self._clock()
            for key in [key for key, due in self._timers.items() if due <= now]:
                if self._timers.get(key, now + 1) <= now:  # the one before may have cancelled it
                    del self._timers[key]
                    self.receive(TimerFired(key))
            return max(0.0, min(self._timers.values()) - self._clock())

    def encode(self, packet: Envelope) -> str:
        """A packet as it goes on the wire, with the time at which it leaves."""
        return encode_envelope(replace(packet, router_outgoing_timestamp=time.time())).decode()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(connection=name, packet=packet):
                if name in self.sockets:
                    self.sockets[name].send(self.encode(packet))
            case Ping(connection=name, token=token):
                if name in self.sockets:
                    self.sockets[name].ping(token)
            case Close(connection=name, code=code, reason=reason):
                if name in self.sockets:
                    self.sockets[name].close(code, reason)
            case Reply(request_id=request_id):
                if request_id in self.waiting:
                    self.waiting.pop(request_id)(effect)
            case SetTimer(key=key, seconds=seconds):
                self._timers[key] = self._clock() + seconds
            case CancelTimer(key=key):
                self._timers.pop(key, None)
            case Save():
                pass  # here a store would write the record down, before the effects after it
            case Count(name=name, label=label):
                self.counters[name, label] += 1
            case _:
                assert_never(effect)
