"""Any order of everything: pages, a core like upstream's, timers and lost connections.

The reference model keeps who was asked, what got its 2xx and what was sent; after every step and at a
quiet end it is compared with what pages and core have. Every timer may fire whenever it is set.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from router_steps import AT, BROWSER, LOCAL, frame, metadata, onboarding, registration, submission
from upstream_core import LIVE, UpstreamCore

from statecore.effects import CancelTimer, Close, Ping, Reply, Send, SetTimer
from statecore.envelope import Envelope
from statecore.events import Closed, Event, Frame, Opened, Ponged, Request, TimerFired, TimerKey
from statecore.lifecycle import LIFECYCLE
from statecore.router import RouterCore
from statecore.settings import RouterOptions

WHO = st.sampled_from(["ann", "bob", "cy"])
AGENTS = st.sampled_from(["1", "2", "3", "onboarding_1", "onboarding_2"])
MOVES = {(row.source, row.dest) for row in LIFECYCLE.rows if row.dest is not None}


def reaches(before: str, after: str) -> bool:
    """Whether rows of the table lead from one state to the other; one event may fire two triggers."""
    direct = {dest for source, dest in MOVES if source == before}
    return after in direct or any((via, after) in MOVES for via in direct)


@dataclass
class Page:
    """One tab: what waits in its socket, and what it was last told."""

    agent_id: str
    pipe: list[Envelope | Ping] = field(default_factory=list)
    status: str = ""
    is_closed: bool = False


class RouterMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.router = RouterCore(RouterOptions())
        self.core = UpstreamCore()
        self.to_core: list[Envelope | Ping] = []
        self.names = 0
        self.core_name = ""
        self.pages: dict[str, Page] = {}
        self.timers: set[TimerKey] = set()
        self.replies: dict[str, Reply] = {}
        self.asked: dict[str, Request] = {}
        self.registered: set[str] = set()  # request ids that were sent as register_agent
        self.submitted: set[str] = set()  # agents of whom a unit got its 2xx
        self.told: set[str] = set()  # agents that were reported as disconnected
        self.owed: dict[str, Request] = {}  # work that got its 2xx
        self.news: dict[str, list[int]] = defaultdict(list)  # sent to an agent, in order
        self.floor: dict[str, int] = defaultdict(int)  # news before it are in past_live_updates
        self.read: dict[str, list[int]] = defaultdict(list)  # first readings, in order

    # The driver ------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        before = {id(seat): (seat, seat.state) for seat in self.router.state.seats}
        effects = self.router.receive(event)
        for effect in effects:
            match effect:
                case Send(connection, packet):
                    if connection == self.core_name:
                        self.to_core.append(packet)
                        self.forwarded(packet)
                    else:
                        self.pages[connection].pipe.append(packet)
                case Ping(connection, _):
                    pipe = self.to_core if connection == self.core_name else None
                    (self.pages[connection].pipe if pipe is None else pipe).append(effect)
                case Reply(post, _, _):
                    assert post in self.asked, "an answer to nobody"
                    assert post not in self.replies, "two answers to one request"
                    self.replies[post] = effect
                    self.answered(self.asked[post], effect)
                case Close(connection, _, _):
                    self.pages[connection].is_closed = True
                case SetTimer(key, _):
                    self.timers.add(key)
                case CancelTimer(key):
                    self.timers.discard(key)
        for seat in self.router.state.seats:
            _, old = before.get(id(seat), (seat, seat.state))
            assert old == seat.state or reaches(old, seat.state), f"{old} to {seat.state}"

    def forwarded(self, packet: Envelope) -> None:
        if packet.packet_type == "register_agent":
            assert packet.subject_id not in self.registered, "a registration was sent twice"
            self.registered.add(packet.subject_id)
        if packet.packet_type == "return_statuses":
            told = msgspec.json.decode(packet.data)
            self.told |= {agent_id for agent_id, value in told.items() if value == "disconnect"}

    def answered(self, request: Request, reply: Reply) -> None:
        if request.route not in ("/submit_task", "/submit_metadata") or reply.status_code != 200:
            return
        agent_id = msgspec.json.decode(request.body)["USED_AGENT_ID"]
        if agent_id in self.core.statuses:  # else there is no such agent, and no work to lose
            self.owed[request.id] = request
        agent = self.router.agent(agent_id)
        if request.route == "/submit_task" and agent and agent.agent_id not in self.submitted:
            self.submitted.add(agent.agent_id)
            if agent.agent_id not in self.told:
                self.core.protected.add(agent.agent_id)

    def new_name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    def ask(self, request: Request) -> None:
        self.asked[request.id] = request
        self.feed(request)

    # Rules: POSTs ------------------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        for effect in self.router.start():
            assert isinstance(effect, SetTimer)
            self.timers.add(effect.key)
        self.core_connects()
        self.page_registers("ann")
        self.settle()
        self.page_connects("1")

    @rule(who=WHO)
    def page_registers(self, who: str) -> None:
        self.ask(registration(self.new_name("r"), who))

    @rule(agent_id=st.sampled_from(["onboarding_1", "onboarding_2"]))
    def page_hands_in_its_onboarding(self, agent_id: str) -> None:
        self.ask(onboarding(self.new_name("o"), agent_id))

    @rule(agent_id=AGENTS, is_unit=st.booleans())
    def page_hands_in_work(self, agent_id: str, is_unit: bool) -> None:
        # A page that hands in a unit while it is onboarded ends its own seat, and nobody else's.
        make = submission if is_unit and not agent_id.startswith("onboarding") else metadata
        self.ask(make(self.new_name("w"), agent_id))

    # Rules: sockets of pages ---------------------------------------------------------------------------

    @rule(agent_id=AGENTS)
    def page_connects(self, agent_id: str) -> None:
        name = self.new_name("p")
        self.pages[name] = Page(agent_id)
        self.feed(Opened(name, BROWSER, AT, True))
        self.feed(frame(name, "alive", agent_id))

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def page_is_lost(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pages)))
        del self.pages[name]
        self.feed(Closed(name))

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), count=st.integers(1, 5))
    def page_reads(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.pages)))
        for _ in range(count):
            self.read_one(name)

    def read_one(self, name: str) -> None:
        page = self.pages[name]
        if not page.pipe:
            return
        packet = page.pipe.pop(0)
        if isinstance(packet, Ping):
            if not page.is_closed:
                self.feed(Ponged(name, packet.token))
            return
        value = msgspec.json.decode(packet.data)
        if packet.packet_type == "update_status":
            page.status = value["status"]
        elif packet.packet_type == "client_bound_live_update":
            number, seen = value["number"], self.read[packet.subject_id]
            if number >= self.floor[packet.subject_id] and number not in seen:
                seen.append(number)
                floor, news = self.floor[packet.subject_id], self.news[packet.subject_id]
                expected = [one for one in news if floor <= one <= number]
                came = [one for one in seen if one >= floor]
                assert came == expected, "a live update was lost or overtaken"

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), kind=st.sampled_from(["alive", "heartbeat", "update", "hello", "theft"]))
    def page_says(self, data: st.DataObject, kind: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.pages)))
        page = self.pages[name]
        before = self.router.key()
        value: dict[str, Any] = {}
        if kind == "update":
            kind, value = "mephisto_bound_live_update", {"update_id": self.new_name("u")}
        self.feed(
            frame(name, "update_status", page.agent_id, {"status": "completed"})
            if kind == "theft"
            else frame(name, kind, page.agent_id, value)
        )
        if kind in ("hello", "theft"):
            assert self.router.key() == before

    # Rules: the core -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.core.is_connected)
    @rule()
    def core_connects(self) -> None:
        self.core_name = self.new_name("core")
        self.to_core.clear()
        self.core.is_connected = True
        self.feed(Opened(self.core_name, LOCAL, AT, True))
        self.feed(frame(self.core_name, "alive", "mephisto"))

    @precondition(lambda self: self.core.is_connected)
    @rule()
    def core_is_lost(self) -> None:
        self.core.drop()
        self.to_core.clear()
        self.told.clear()
        self.feed(Closed(self.core_name))

    @precondition(lambda self: self.to_core)
    @rule(count=st.integers(1, 5))
    def core_reads(self, count: int) -> None:
        for packet in self.to_core[:count]:
            del self.to_core[0]
            if isinstance(packet, Ping):
                self.feed(Ponged(self.core_name, packet.token))
            else:
                self.core.receive(packet)

    @precondition(lambda self: self.core.outgoing)
    @rule(count=st.integers(1, 5))
    def router_reads(self, count: int) -> None:
        for told in self.core.outgoing[:count]:
            del self.core.outgoing[0]
            registering = told["packet_type"] == "agent_details" and self.asked.get(
                told["data"]["request_id"]
            )
            self.feed(Frame(self.core_name, msgspec.json.encode(told).decode(), AT))
            if registering and registering.route == "/request_agent":
                self.reloaded(told["data"]["agent_id"])

    def reloaded(self, agent_id: str | None) -> None:
        """The page has past_live_updates now: what came before need not reach it."""
        if agent_id is not None:
            self.floor[agent_id] = self.names + 1

    @precondition(lambda self: self.core.answers)
    @rule(choice=st.sampled_from(["seat", "seat", "onboard", "refuse"]))
    def core_answers(self, choice: str) -> None:
        self.core.answer(choice)

    @precondition(lambda self: self.core.handed_in)
    @rule(passed=st.booleans())
    def core_judges(self, passed: bool) -> None:
        self.core.judge(min(self.core.handed_in), passed=passed)

    @precondition(lambda self: self.core.statuses)
    @rule(
        data=st.data(),
        status=st.sampled_from(["waiting", "in task", "in task", "partner disconnect", "timeout"]),
    )
    def core_moves(self, data: st.DataObject, status: str) -> None:
        agent_id = data.draw(st.sampled_from(sorted(self.core.statuses)))
        if not agent_id.startswith("onboarding"):
            self.core.move(agent_id, status)

    @precondition(lambda self: self.core.is_connected and self.core.statuses)
    @rule(data=st.data())
    def core_sends_news(self, data: st.DataObject) -> None:
        agent_id = data.draw(st.sampled_from(sorted(self.core.statuses)))
        if agent_id.startswith("onboarding"):
            return
        self.names += 1
        told = {"packet_type": "client_bound_live_update", "subject_id": agent_id}
        told |= {"data": {"update_id": str(self.names), "number": self.names}}  # type: ignore[dict-item]
        while self.core.outgoing:  # one wire: nothing overtakes
            self.router_reads(1)
        self.news[agent_id].append(self.names)
        self.feed(Frame(self.core_name, msgspec.json.encode(told).decode(), AT))

    @precondition(lambda self: self.core.is_connected and self.pages)
    @rule(data=st.data())
    def news_meets_a_dying_socket(self, data: st.DataObject) -> None:
        self.core_sends_news(data)
        self.page_is_lost(data)

    @precondition(lambda self: self.core.is_connected and not self.is_polling())
    @rule()
    def core_polls(self) -> None:
        self.core.say("request_statuses", "mephisto", {})

    def is_polling(self) -> bool:
        """Polls are seconds apart: the last one has been answered and the answer read."""
        asked = any(told["packet_type"] == "request_statuses" for told in self.core.outgoing)
        packets = (one for one in self.to_core if isinstance(one, Envelope))
        return asked or any(one.packet_type == "return_statuses" for one in packets)

    # Rules: time ---------------------------------------------------------------------------------------

    @rule(data=st.data())
    def timer_fires(self, data: st.DataObject) -> None:
        keys = sorted(key for key in self.timers if key[0] != "retire")
        key = data.draw(st.sampled_from(keys))
        self.timers.discard(key)
        self.feed(TimerFired(key))

    # Always --------------------------------------------------------------------------------------------

    @invariant()
    def copies_are_equal(self) -> None:
        assert self.router.copy().key() == self.router.key()

    def check_deepcopy(self) -> None:
        assert copy.deepcopy(self.router).key() == self.router.key()

    # At a quiet end --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """No more faults: everything in flight arrives, and the core polls once."""
        for _ in range(4):
            self.core_polls()
            while self.core.outgoing or self.to_core or self.core.answers:
                self.router_reads(len(self.core.outgoing))
                self.core_reads(len(self.to_core))
                while self.core.answers:
                    self.core.answer("seat")
            while self.core.handed_in:
                self.core_judges(passed=True)
            for name in sorted(self.pages):
                while self.pages[name].pipe:
                    self.read_one(name)

    def teardown(self) -> None:
        self.check_deepcopy()
        if not self.core.is_connected:
            self.core_connects()
        self.settle()
        for key in sorted(key for key in self.timers if key[0] == "request"):
            self.timers.discard(key)
            self.feed(TimerFired(key))
        self.settle()
        assert set(self.replies) == set(self.asked), "a request without an answer"  # S1, L2
        for agent_id in sorted(self.core.statuses):
            self.check_agent(agent_id)
        self.check_work()

    def check_agent(self, agent_id: str) -> None:
        """Page, router and core agree, and nothing for the page was lost (S3, S4)."""
        if agent_id in self.core.onboarded:
            return  # it is somebody else by now, or failed: upstream's core speaks of it no more
        self.page_connects(agent_id)
        name = f"p{self.names}"
        self.settle()
        assert self.pages[name].status == self.core.statuses[agent_id]
        seat = self.router.agent(agent_id)
        assert seat is not None
        assert seat.reported == self.core.statuses[agent_id]
        wanted, came = (
            [number for number in numbers if number >= self.floor[agent_id]]
            for numbers in (self.news[agent_id], self.read[agent_id])
        )
        assert came == wanted, "a live update never came"

    def check_work(self) -> None:
        """What got its 2xx is with the core (S2)."""
        for request in self.owed.values():
            agent_id = msgspec.json.decode(request.body)["USED_AGENT_ID"]
            if agent_id in self.core.onboarded:
                continue  # upstream's core never speaks of it again, so after a restart it is unknown
            seat = self.router.agent(agent_id)
            names = {agent_id} if seat is None else {agent_id, seat.agent_id}
            if request.route == "/submit_task":
                assert names & set(self.core.units)
            else:
                assert any((name, request.id) in self.core.metadata for name in names)


assert LIVE
RouterMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestRouterMachine = RouterMachine.TestCase
