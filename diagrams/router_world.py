"""What can happen to a ``World``: every delivery, loss, crash and timer, as actions to explore.

A wire that breaks loses what was on its way, and each end hears of it in its own time. POSTs travel one by
one and may be lost on the way there or back. A timer may fire whenever it is set: "within the grace time"
means before that timer's event. The program of each page is a short script (register, one live update,
submit). Faults have budgets, and every action that spends one is a fault; the rest happens by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from statecore import backend_events as task_side
from statecore import client_events as page_side
from statecore.backend import BackendCore
from statecore.client import ClientCore
from statecore.diagrams.world import CORE, Action, Budget, Wire, World, put
from statecore.diagrams.world_effects import (
    backend_event,
    name_of,
    peer_event,
    perform,
    queue,
    router_event,
)
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
from statecore.settings import BackendOptions, ClientOptions, RouterOptions
from statecore.status import FINAL_STATES, State, Status

__all__ = ["RouterWorld"]

_AT_HOME = Principal(loopback=True)
_BROWSER = Principal(loopback=True, origin="http://page")

# Timers that only matter when somebody is silent for long; a world without silence leaves them out.
_SILENCE = ("sweep", "retire", "heartbeat", "core")


class RouterWorld:
    """A system for ``explore``: so many pages, one router, one backend.

    Args:
        pages: how many pages.
        live: they work on one assignment together; otherwise each on a unit of its own.
        budget: the faults.
        updates: how many live updates each page sends.
    """

    def __init__(
        self, pages: int = 2, *, live: bool = True, budget: Budget | None = None, updates: int = 1
    ) -> None:
        self.count = pages
        self.live = live
        self.budget = budget or Budget()
        self.updates = updates if live else 0
        self.page_options = ClientOptions(live=live)
        self.backend_options = BackendOptions(is_live=live)

    def initial(self) -> World:
        """Everything is started and nothing is connected."""
        world = World(
            router=RouterCore(RouterOptions()),
            backend=BackendCore(self.backend_options),
            pages=tuple(ClientCore(self.page_options) for _ in range(self.count)),
            budget=self.budget,
            scripts=((),) * self.count,
            shown=((),) * self.count,
            sent=((),) * self.count,
        )
        perform(world, "router", world.router.start())
        seats = self.count if self.live else 1
        for number in range(1 if self.live else self.count):
            backend_event(world, task_side.AddAssignment(f"a{number}", seats=seats))
        return world

    def key(self, state: World) -> Hashable:
        """Equal for worlds that behave alike."""
        return state.key()

    def is_fault(self, action: Action) -> bool:
        """Whether it spends the budget."""
        return action[0] in ("drop", "lose", "crash", "reload")

    # What can happen ---------------------------------------------------------------------------

    def actions(self, state: World) -> Iterator[Action]:
        """Everything that can happen next."""
        if CORE not in state.wires:
            yield ("connect", CORE)
        for peer, wire in state.wires.items():
            if wire.inward:
                yield ("inward", peer)
            if wire.outward and wire.peer_open:
                yield ("outward", peer)
            if not wire.peer_open:
                yield ("hear", peer)
            elif state.budget.drops and wire.router_open:
                yield ("drop", peer)
        for wire in state.old_wires:
            yield ("gone", wire.name)
        for post in state.posts:
            if post.where != "waiting":
                yield (post.where, post.request_id)
            if state.budget.lost_posts and post.where != "waiting":
                yield ("lose", post.request_id)
        for number, page in enumerate(state.pages):
            if str(number) in state.opening and page.ended is None:
                yield ("connect", str(number))
            for step in self._script(page, state.scripts[number]):
                yield ("act", str(number), step)
            if state.budget.reloads and state.scripts[number] and not page.submitted:
                yield ("reload", str(number))
        for owner, key in sorted(state.timers):
            if self._may_fire(state, key):
                yield ("timer", owner, *key)
        if state.budget.router_crashes:
            yield ("crash", "router")

    def _script(self, page: ClientCore, done: tuple[str, ...]) -> Iterator[str]:
        if "register" not in done:
            yield "register"
        if page.agent_id is None or "submit" in done:
            return
        owes = page.outcome == Status.PARTNER_DISCONNECT
        if page.state == State.IN_TASK and done.count("update") < self.updates:
            yield "update"
        if (
            owes
            or page.state == State.IN_TASK
            or (not self.live and page.state not in FINAL_STATES)
        ):
            yield "submit"

    def _may_fire(self, state: World, key: TimerKey) -> bool:
        name, whose = key
        if name == "poll":
            return not self._is_polling(state)
        if name == "request":
            # A wait to the limit is a fault, unless the answer is lost and nothing else can come.
            pending = state.router.state.requests.of_post(whose)
            return state.budget.timeouts > 0 or (pending is not None and pending.lost)
        return name not in _SILENCE

    def _is_polling(self, state: World) -> bool:
        """One poll at a time: more on the way would tell the router nothing more."""
        wire = state.wires.get(CORE)
        if wire is None or not wire.router_open:
            return True
        return any(
            b"_statuses" in item for item in wire.inward + wire.outward if isinstance(item, bytes)
        )

    # What it does ------------------------------------------------------------------------------

    def step(self, state: World, action: Action) -> World:
        """The world after one action."""
        world = state.copy()
        match action:
            case ("connect", peer):
                self._connect(world, peer)
            case ("inward", peer):
                self._inward(world, peer)
            case ("outward", peer):
                self._outward(world, peer)
            case ("drop", peer):
                world.budget = world.budget.spend("drops")
                wire = world.wires[peer]
                # Each end hears of it in its own time; what was on its way is lost.
                world.wires[peer] = replace(wire, inward=(), outward=(), peer_open=False)
                world.old_wires = (*world.old_wires, replace(wire, inward=(), outward=()))
                world.wires[peer] = replace(world.wires[peer], router_open=False)
            case ("hear", peer):
                wire = world.wires.pop(peer)
                peer_event(world, peer, Closed(name_of(peer, wire), wire.code))
            case ("gone", name):
                world.old_wires = tuple(w for w in world.old_wires if w.name != name)
                router_event(world, Closed(name))
            case ("there" | "back" | "lose", request_id):
                self._post(world, action[0], request_id)
            case ("act", number, step):
                self._act(world, int(number), step)
            case ("reload", number):
                self._reload(world, int(number))
            case ("timer", owner, name, whose):
                world.timers -= {(owner, (name, whose))}
                if name == "request" and state.budget.timeouts:
                    world.budget = world.budget.spend("timeouts")
                fired = TimerFired((name, whose))
                if owner == "router":
                    router_event(world, fired)
                else:
                    peer_event(world, owner, fired)
            case ("crash", "router"):
                self._crash(world)
            case _:
                raise AssertionError(action)
        return world

    def _connect(self, world: World, peer: str) -> None:
        taken = {w.name for w in (*world.wires.values(), *world.old_wires)}
        name = next(n for n in (f"{peer}{letter}" for letter in "abcdefgh") if n not in taken)
        wire = Wire(name)
        world.wires[peer] = wire
        world.opening -= {peer}
        principal = _AT_HOME if peer == CORE else _BROWSER
        router_event(world, Opened(name, principal, pings=True))
        peer_event(world, peer, Opened(name_of(peer, wire), pings=True))

    def _inward(self, world: World, peer: str) -> None:
        wire = world.wires[peer]
        item, rest = wire.inward[0], wire.inward[1:]
        world.wires[peer] = replace(wire, inward=rest)
        if isinstance(item, bytes):
            router_event(world, Frame(wire.name, item.decode()))
        elif item.startswith("ping"):
            queue(world, peer, outward="pong" + item[4:])
        else:
            router_event(world, Ponged(wire.name, item[5:]))

    def _outward(self, world: World, peer: str) -> None:
        wire = world.wires[peer]
        item, rest = wire.outward[0], wire.outward[1:]
        world.wires[peer] = replace(wire, outward=rest)
        name = name_of(peer, wire)
        if isinstance(item, bytes):
            peer_event(world, peer, Frame(name, item.decode()))
        elif item.startswith("ping"):
            queue(world, peer, inward="pong" + item[4:])
        elif item.startswith("pong"):
            peer_event(world, peer, Ponged(name, item[5:]))
        else:  # the router closed it
            wire = world.wires.pop(peer)
            peer_event(world, peer, Closed(name, int(item[6:])))

    def _post(self, world: World, what: str, request_id: str) -> None:
        post = next(p for p in world.posts if p.request_id == request_id)
        if what == "there":
            world.replace_post(post, replace(post, where="waiting"))
            router_event(world, Request(request_id, post.route, post.body))
            return
        world.replace_post(post, None)
        if what == "lose":
            world.budget = world.budget.spend("lost_posts")
            peer_event(world, str(post.page), page_side.Unanswered(post.post_id, sent=True))
        else:
            code, body = post.answer
            if post.route is Route.SUBMIT_TASK and code == 200:
                agent_id = msgspec.json.decode(post.body)["USED_AGENT_ID"]
                world.accepted |= {agent_id}
            peer_event(world, str(post.page), page_side.Answered(post.post_id, code, body))

    def _act(self, world: World, number: int, step: str) -> None:
        done = world.scripts[number]
        world.scripts = put(world.scripts, number, (*done, step))
        reloads = done.count("reload")
        match step:
            case "register":
                data = {"worker_name": f"w{number}", "agent_registration_id": f"r{number}"}
                event: Any = page_side.Register(f"register{reloads}", data)
            case "update":
                event = page_side.SendUpdate({"from": number}, f"u{number}.{done.count('update')}")
            case _:
                event = page_side.SubmitUnit(f"submit{reloads}", {"by": number})
        peer_event(world, str(number), event)

    def _reload(self, world: World, number: int) -> None:
        """The page goes and a new one asks again; its POSTs are abandoned where they are."""
        world.budget = world.budget.spend("reloads")
        peer = str(number)
        wire = world.wires.pop(peer, None)
        if wire is not None and wire.router_open:
            world.old_wires = (*world.old_wires, replace(wire, inward=(), outward=()))
        for post in [p for p in world.posts if p.page == number and p.where != "waiting"]:
            world.replace_post(post, None)
        world.pages = put(world.pages, number, ClientCore(self.page_options))
        world.opening -= {peer}
        world.timers = frozenset(t for t in world.timers if t[0] != peer)
        # The worker sees that the work was not handed in, and does it again.
        done = tuple(s for s in world.scripts[number] if s not in ("register", "submit"))
        world.scripts = put(world.scripts, number, (*done, "reload"))
        world.shown = put(world.shown, number, ())
        world.sent = put(world.sent, number, ())

    def _crash(self, world: World) -> None:
        """The router's memory is gone; every wire breaks and every waiting POST is unanswered."""
        world.budget = world.budget.spend("router_crashes")
        world.router = RouterCore(RouterOptions())
        world.old_wires = ()
        world.timers = frozenset(t for t in world.timers if t[0] != "router")
        for peer, wire in world.wires.items():
            world.wires[peer] = replace(
                wire, inward=(), outward=(), router_open=False, peer_open=False
            )
        for post in world.posts:
            if post.where == "waiting":
                world.replace_post(post, replace(post, where="back", answer=(502, b"")))
        perform(world, "router", world.router.start())
