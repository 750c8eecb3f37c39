"""A router core and a backend core, joined by a wire that delivers when it is told to.

The cores are the real ones; only the wire is not. It keeps the order, as a WebSocket does, and
answers pings when they are read. Dropped, it loses what was on its way.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from typing import Any, TypeAlias, assert_never

from statecore.backend import BackendCore
from statecore.backend_events import JudgeOnboarding, OnboardingSubmitted, Submitted
from statecore.effects import CancelTimer, Close, Count, Effect, Ping, Reply, Save, Send, SetTimer
from statecore.envelope import encode_envelope
from statecore.events import (
    Closed,
    Frame,
    Opened,
    Ponged,
    Principal,
    Request,
    Route,
    TimerFired,
    TimerKey,
)
from statecore.router import RouterCore
from statecore.settings import BackendOptions, RouterOptions

__all__ = ["Joined"]

# What is on the wire: a frame's text, or a ping or pong with its token.
Item: TypeAlias = str | Ping | Ponged


class Joined:
    """Both cores, the wire between them, and the POSTs of pages.

    Attributes:
        replies: the answers to each POST, by its id.
        submitted: how often the task got each agent's work.
        to_judge: onboarding agents that the task has not judged yet.
    """

    def __init__(
        self, router: RouterOptions | None = None, backend: BackendOptions | None = None
    ) -> None:
        self.router = RouterCore(router)
        self.backend = BackendCore(backend)
        self.replies: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.submitted: Counter[str] = Counter()
        self.to_judge: list[str] = []
        self.router_timers: dict[TimerKey, None] = {}
        self.backend_timers: dict[TimerKey, None] = {}
        self.to_backend: deque[Item] = deque()
        self.to_router: deque[Item] = deque()
        self._connections = 0
        self.is_up = False
        self._perform_router(self.router.start())

    @property
    def _core(self) -> str:
        return f"core-{self._connections}"

    def connect(self) -> None:
        """The backend connects, unless it is connected."""
        if self.is_up:
            return
        self._connections += 1
        self.is_up = True
        self.tell_router(Opened(self._core, Principal(loopback=True), pings=True))
        self.tell_backend(Opened("channel", pings=True))

    def drop(self) -> None:
        """The connection is lost, with all that was on its way."""
        if not self.is_up:
            return
        self.is_up = False
        self.to_backend.clear()
        self.to_router.clear()
        self.tell_router(Closed(self._core))
        self.tell_backend(Closed("channel"))

    def post(self, request_id: str, route: Route, body: dict[str, Any]) -> None:
        """A page posts."""
        self.replies[request_id] = []
        self.tell_router(Request(request_id, route, json.dumps(body).encode()))

    def deliver_to_router(self) -> bool:
        """One item arrives at the router; ``False`` when there is none."""
        if not self.to_router:
            return False
        match self.to_router.popleft():
            case Ping(token=token):
                self.to_backend.append(Ponged("channel", token))
            case Ponged(token=token):
                self.tell_router(Ponged(self._core, token))
            case str() as text:
                self.tell_router(Frame(self._core, text))
        return True

    def deliver_to_backend(self) -> bool:
        """One item arrives at the backend; ``False`` when there is none."""
        if not self.to_backend:
            return False
        match self.to_backend.popleft():
            case Ping(token=token):
                self.to_router.append(Ponged(self._core, token))
            case Ponged() as ponged:
                self.tell_backend(ponged)
            case str() as text:
                self.tell_backend(Frame("channel", text))
        return True

    def deliver_all(self) -> None:
        """Everything arrives, and what that leads to."""
        while self.deliver_to_router() or self.deliver_to_backend():
            pass

    def judge(self, passed: bool) -> None:
        """The task judges the oldest onboarding that waits for it."""
        if self.to_judge:
            self.tell_backend(JudgeOnboarding(self.to_judge.pop(0), passed))

    def poll(self) -> None:
        """The backend's poll is due."""
        self.fire_backend(("poll", "channel"))

    def fire_router(self, key: TimerKey) -> None:
        """A timer of the router runs out, if it is set."""
        if key in self.router_timers:
            del self.router_timers[key]
            self.tell_router(TimerFired(key))

    def fire_backend(self, key: TimerKey) -> None:
        """A timer of the backend runs out, if it is set."""
        if key in self.backend_timers:
            del self.backend_timers[key]
            self.tell_backend(TimerFired(key))

    def settle(self) -> None:
        """Faults stop: all is connected, delivered, judged and polled."""
        self.connect()
        for _ in range(4):
            self.deliver_all()
            while self.to_judge:
                self.judge(True)
                self.deliver_all()
            self.poll()
            self.fire_router(("sweep", ""))
        self.deliver_all()

    def tell_router(self, event: Any) -> None:
        """The router takes an event."""
        self._perform_router(self.router.receive(event))

    def tell_backend(self, event: Any) -> None:
        """The backend takes an event, and the task what comes of it."""
        for effect in self.backend.receive(event):
            match effect:
                case Send(packet=packet):
                    self._put(self.to_router, encode_envelope(packet).decode())
                case Ping():
                    self._put(self.to_router, effect)
                case SetTimer(key=key):
                    self.backend_timers[key] = None
                case CancelTimer(key=key):
                    self.backend_timers.pop(key, None)
                case OnboardingSubmitted(agent_id=agent_id):
                    self.to_judge.append(agent_id)
                case Submitted(agent_id=agent_id):
                    self.submitted[agent_id] += 1
                case _:
                    pass  # the rest is for an author, and this task has none

    def _perform_router(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Send(connection=name, packet=packet):
                    if name == self._core:
                        self._put(self.to_backend, encode_envelope(packet).decode())
                case Ping(connection=name):
                    if name == self._core:
                        self._put(self.to_backend, effect)
                case Reply(request_id=request_id, status_code=code, body=body):
                    text = body if isinstance(body, bytes) else encode_envelope(body)
                    self.replies[request_id].append((code, json.loads(text)))
                case SetTimer(key=key):
                    self.router_timers[key] = None
                case CancelTimer(key=key):
                    self.router_timers.pop(key, None)
                case Close(connection=name):
                    assert name != self._core, "the router never closes on a backend of ours"
                case Count() | Save():
                    pass
                case _:
                    assert_never(effect)

    def _put(self, wire: deque[Item], item: Item) -> None:
        if self.is_up:
            wire.append(item)
