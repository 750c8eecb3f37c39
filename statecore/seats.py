"""The agents that a router knows: their seats, under which names, and how long they are remembered.

A *seat* is one worker's lifecycle. It is found by its agent id, by an alias (the id of the onboarding
agent it was before) and by its registration id. Ended seats are remembered (S10) in two generations:
at each retirement the older one is forgotten and the younger grows old, so each is kept for at least
one period and no time is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import msgspec

from statecore.delivery import Mailbox
from statecore.envelope import Envelope
from statecore.lifecycle import LIFECYCLE, LINK
from statecore.machine import LifecycleMachine
from statecore.status import FINAL_STATES, STATE_OF, LinkState, State, Status
from statecore.table import Row

__all__ = ["Held", "Seat", "Seats"]

_agents = LifecycleMachine(LIFECYCLE)
_links = LifecycleMachine(LINK)


class Held(msgspec.Struct, frozen=True):
    """What waits for the core to speak of its agent.

    Args:
        packet: a live update that may become legal, or work of an agent that may exist.
        polls: the polls that it has waited.
        post: the POST that waits with it; empty for a live update, and for work that got its 2xx.
    """

    packet: Envelope
    polls: int = 0
    post: str = ""


@dataclass(slots=True)
class Seat:
    """One agent's life.

    Args:
        agent_id: its current id; empty until the core has given one.
        registration: its registration id; empty when only a page or a push has named it.
        state, link: the machines' states; only ``fire`` and ``fire_link`` change them.
        outcome: the exact wire status or the failure reason behind the state.
        pushed: the status that the core last pushed; ``none`` if never.
        submitted: a submission already got its 2xx.
        link_ended: the link, not the core, ended it.
        told: a poll has carried the disconnect to the core.
        named_by: the id by which the page on the socket calls itself.
        former: the ids that it had before (its onboarding agent's).
        heard: it was heard since the last sweep; ``silent`` counts the sweeps without.
        polls: reports of this seat as ``none`` that the core left without a status.
        answer: the answer to its onboarding, for a repeat.
    """

    agent_id: str = ""
    registration: str = ""
    state: str = State.CONNECTING.value
    link: str = LinkState.ABSENT.value
    outcome: str = ""
    pushed: str = Status.NONE
    submitted: bool = False
    link_ended: bool = False
    told: bool = False
    connection: str | None = None
    named_by: str = ""
    former: tuple[str, ...] = ()
    heard: bool = False
    silent: int = 0
    polls: int = 0
    answer: msgspec.Raw | None = None
    mailbox: Mailbox = field(default_factory=Mailbox)
    held: list[Held] = field(default_factory=list)

    @property
    def is_final(self) -> bool:
        """Whether its life has ended."""
        return self.state in FINAL_STATES

    @property
    def core_knows_the_end(self) -> bool:
        """Whether the core itself pushed a final status."""
        return STATE_OF[Status(self.pushed)] in FINAL_STATES

    @property
    def reported(self) -> str:
        """What return_statuses says: the core's own last word, or that the link ended it."""
        return Status.DISCONNECT if self.link_ended else self.pushed

    @property
    def shown(self) -> str:
        """The status that its page is shown on ``alive``."""
        if self.state in (State.COMPLETED, State.DISCONNECTED):
            return self.outcome
        return self.pushed

    def fire(self, trigger: str, outcome: str | None = None) -> Row | None:
        """Move by the lifecycle table; see ``LifecycleMachine.fire``."""
        return _agents.fire(self, trigger, outcome)

    def fire_link(self, trigger: str) -> Row | None:
        """Move the link by its table."""
        return _links.fire(self, trigger)

    def copy(self) -> Seat:
        """An independent copy."""
        return replace(self, mailbox=self.mailbox.copy(), held=self.held.copy())

    def key(self, rename: Callable[[str], Hashable], socket: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, with ids and connections renamed and without times."""
        return (
            rename(self.agent_id),
            rename(self.registration),
            self.state,
            self.link,
            self.outcome,
            self.pushed,
            self.submitted,
            self.link_ended,
            self.told,
            socket(self.connection or ""),
            rename(self.named_by),
            self.heard,
            self.silent,
            self.polls,
            self.answer is None,  # its text holds ids; what it said is in the state
            self.mailbox.key(rename, socket),
            tuple(
                (h.packet.packet_type, bytes(h.packet.data), h.polls, rename(h.post))
                for h in self.held
            ),
        )


class Seats:
    """Every seat, found by agent id, alias or registration id."""

    __slots__ = ("_aliases", "_by_id", "_by_registration", "_old", "_young", "unknown")

    def __init__(self) -> None:
        self._by_id: dict[str, Seat] = {}
        self._aliases: dict[str, str] = {}
        self._by_registration: dict[str, str] = {}
        self._young: dict[str, None] = {}
        self._old: dict[str, None] = {}
        # Ids that only a page has named, and the core has not confirmed: bounded by the router.
        self.unknown: dict[str, None] = {}

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, agent_id: str) -> Seat | None:
        """The seat that this id names, by its current name or an alias."""
        return self._by_id.get(agent_id) or self._by_id.get(self._aliases.get(agent_id, ""))

    def current(self, agent_id: str) -> Seat | None:
        """The seat whose current id this is."""
        return self._by_id.get(agent_id)

    def is_unknown(self, seat: Seat) -> bool:
        """Whether only a page has named this agent."""
        return seat.agent_id in self.unknown

    def is_alias(self, agent_id: str) -> bool:
        """Whether this is the former id of a seat."""
        return agent_id in self._aliases

    def of_registration(self, registration: str) -> Seat | None:
        """The seat of a registration, if the core has given it an agent."""
        return self._by_id.get(self._by_registration.get(registration, ""))

    def add(self, seat: Seat) -> None:
        """Enter a seat under its agent id and registration."""
        owner = self._by_id.get(self._aliases.pop(seat.agent_id, ""), seat)
        owner.former = tuple(name for name in owner.former if name != seat.agent_id)
        self._by_id[seat.agent_id] = seat
        for alias in seat.former:
            self._aliases[alias] = seat.agent_id
        if seat.registration:
            self._by_registration[seat.registration] = seat.agent_id

    def rename(self, seat: Seat, agent_id: str) -> None:
        """The core calls it by a new id; the old one stays as an alias."""
        old = seat.agent_id
        self._by_id.pop(old, None)
        self._young.pop(old, None)
        self._old.pop(old, None)
        self.unknown.pop(old, None)
        seat.former = (*seat.former, old)
        seat.agent_id = agent_id
        self.add(seat)

    def drop(self, seat: Seat) -> None:
        """Forget a seat whole: its id, aliases and registration."""
        agent_id = seat.agent_id
        self._by_id.pop(agent_id, None)
        self._young.pop(agent_id, None)
        self._old.pop(agent_id, None)
        self.unknown.pop(agent_id, None)
        for alias in seat.former:
            self._aliases.pop(alias, None)
        if self._by_registration.get(seat.registration) == agent_id:
            del self._by_registration[seat.registration]

    def finished(self, seat: Seat, limit: int) -> list[Seat]:
        """A seat has ended: remember it. Returns the oldest ends above the limit, to drop."""
        if self._by_id.get(seat.agent_id) is seat:
            self._old.pop(seat.agent_id, None)
            self._young[seat.agent_id] = None
        above = max(0, len(self._young) + len(self._old) - limit)
        oldest = islice(chain(self._old, self._young), above)
        return [self._by_id[agent_id] for agent_id in oldest]

    def retire(self) -> list[Seat]:
        """One retention period has passed. Returns the seats to drop.

        A seat with an open socket stays for another one.
        """
        old = [self._by_id[agent_id] for agent_id in self._old]
        stay = {seat.agent_id: None for seat in old if seat.connection is not None}
        self._old, self._young = {**self._young, **stay}, {}
        return [seat for seat in old if seat.connection is None]

    def copy(self) -> Seats:
        """An independent copy."""
        other = Seats()
        other._by_id = {agent_id: seat.copy() for agent_id, seat in self._by_id.items()}
        other._aliases = self._aliases.copy()
        other._by_registration = self._by_registration.copy()
        other._young, other._old = self._young.copy(), self._old.copy()
        other.unknown = self.unknown.copy()
        return other

    def key(self, rename: Callable[[str], Hashable], socket: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable."""
        return (
            tuple(seat.key(rename, socket) for seat in self._by_id.values()),
            tuple((rename(old), rename(new)) for old, new in self._aliases.items()),
            tuple((rename(name), rename(of)) for name, of in self._by_registration.items()),
            tuple(rename(agent_id) for agent_id in self._young),
            tuple(rename(agent_id) for agent_id in self._old),
            tuple(rename(agent_id) for agent_id in self.unknown),
        )
