"""One moment of everything: pages, a router, a backend, and what is on the wires between them.

A ``World`` is a value, and the cores in it are those that run in production. Wires are ordered, as
WebSockets are. ``router_world.py`` says what can happen to it, ``world_effects.py`` performs what the
cores order.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from statecore.backend import BackendCore
from statecore.client import ClientCore
from statecore.events import Route, TimerKey
from statecore.router import RouterCore

__all__ = ["CORE", "Action", "Budget", "Post", "Wire", "World", "put"]

Action: TypeAlias = tuple[str, ...]

# The backend's end of its one wire; a page's end is called by the page's number.
CORE = "core"


@dataclass(frozen=True, slots=True)
class Budget:
    """How often each fault may happen in one story."""

    drops: int = 0
    timeouts: int = 0
    lost_posts: int = 0
    router_crashes: int = 0
    reloads: int = 0

    def spend(self, name: str) -> Budget:
        """One fewer of this kind."""
        return replace(self, **{name: getattr(self, name) - 1})


@dataclass(frozen=True, slots=True)
class Wire:
    """One WebSocket: what is on its way, and which ends still think that it is open."""

    name: str  # the router's name for it
    inward: tuple[bytes | str, ...] = ()  # to the router; a ping or pong is text "ping 3"
    outward: tuple[bytes | str, ...] = ()
    router_open: bool = True
    peer_open: bool = True
    code: int = 1006


@dataclass(frozen=True, slots=True)
class Post:
    """One POST: on its way there, waiting in the router, or its answer on its way back."""

    page: int
    post_id: str
    route: Route
    body: bytes
    attempt: int
    where: str = "there"
    answer: tuple[int, bytes] = (0, b"")

    @property
    def request_id(self) -> str:
        """The same in every order of events, so that keys stay comparable."""
        return f"{self.page}.{self.post_id}.{self.attempt}"


@dataclass(slots=True)
class World:
    """One moment of everything. Change it only through ``RouterWorld.step``."""

    router: RouterCore
    backend: BackendCore
    pages: tuple[ClientCore, ...]
    budget: Budget
    wires: dict[str, Wire] = field(default_factory=dict)  # by the peer: "core", "0", "1"
    old_wires: tuple[Wire, ...] = ()  # lost, but the router has not heard of it
    posts: tuple[Post, ...] = ()
    timers: frozenset[tuple[str, TimerKey]] = frozenset()
    scripts: tuple[tuple[str, ...], ...] = ()  # what each page has done
    opening: frozenset[str] = frozenset()  # pages that asked for a socket
    submitted: frozenset[str] = frozenset()  # agents whose work the task got
    accepted: frozenset[str] = frozenset()  # agents whose page got a 2xx for its work
    twice: frozenset[str] = frozenset()  # agents whose work the task got more than once
    replies: dict[str, int] = field(default_factory=dict)
    shown: tuple[tuple[str, ...], ...] = ()  # the updates that each page was shown, in order
    sent: tuple[tuple[str, ...], ...] = ()  # the updates that the task sent to each agent's page

    def copy(self) -> World:
        """A copy that shares the cores, which are copied when they are touched."""
        return replace(self, wires=self.wires.copy(), replies=self.replies.copy())

    def key(self) -> Hashable:
        """Equal for worlds that behave alike."""
        router, backend = self.router, self.backend
        return (
            router.key(),
            tuple((s.agent_id, s.registration) for s in router.state.seats),
            tuple((p.id, *p.waiting) for p in router.state.requests),
            backend.key(),
            tuple((a.agent_id, tuple(a.asked)) for a in backend.state.agents.values()),
            tuple((page.key(), page.agent_id) for page in self.pages),
            self.budget,
            tuple(sorted(self.wires.items())),
            self.old_wires,
            self.posts,
            self.timers,
            self.scripts,
            self.opening,
            self.submitted,
            self.accepted,
            self.twice,
            self.shown,
            self.sent,
        )

    def replace_post(self, post: Post, new: Post | None) -> None:
        """Put another in the place of one POST, or nothing."""
        others = tuple(new if p is post else p for p in self.posts)
        self.posts = tuple(p for p in others if p is not None)


def put(items: tuple[Any, ...], index: int, item: Any) -> tuple[Any, ...]:
    """The tuple with one item replaced."""
    return (*items[:index], item, *items[index + 1 :])
