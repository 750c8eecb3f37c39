"""What a backend knows: its agents, by every name they have had, and its channels.

An *agent* is one worker's life in this run. It has an id on the wire, which changes once when its
onboarding is passed: the old id stays as an alias, for what was sent under it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import msgspec

from statecore.delivery import Outbox
from statecore.lifecycle import LIFECYCLE
from statecore.machine import LifecycleMachine
from statecore.router_state import Renamer
from statecore.status import FINAL_STATES, State, Status
from statecore.table import Row
from statecore.worker_pool import WorkerPool

__all__ = ["Asked", "BackendAgent", "BackendState", "short_name"]

# The most characters of a peer's name that are remembered as they are.
_LONG = 64

_machine = LifecycleMachine(LIFECYCLE)


def short_name(name: str) -> str:
    """What a peer's name is remembered by: itself, or a digest when it is long."""
    if len(name) <= _LONG:
        return name
    # The mark makes it longer than any name that is kept as it is, so the two never meet.
    return "#" + blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_LONG // 2).hexdigest()


class Asked(msgspec.Struct, frozen=True):
    """A request that waits for an answer, and the channel that it came by."""

    request_id: str
    connection: str


@dataclass(slots=True)
class BackendAgent:
    """One worker's life.

    Args:
        agent_id: its current id on the wire.
        worker: the worker's name.
        registration: its registration id; with the worker's name, what a reload is known by.
        connection: the channel that it came by last; what is for its page goes there.
        registered_by: the request that its registration was answered to last.
        assignment, seat: its unit; no assignment while it is in the onboarding.
        state: the machine's state; only ``fire`` changes it.
        outcome: its status on the wire, or a failure's reason.
        submitted: its work has come.
        link_ended, told: for the table's guards. A backend has no link to its pages.
        asked: submissions of its onboarding that are not answered yet.
        past, past_bytes: the live updates that its page was sent, for a reload, and their size.
        seen: update ids that came from it, the oldest first.
        noted: digests of the metadata that came from it, the oldest first.
    """

    agent_id: str
    worker: str
    registration: str
    connection: str
    registered_by: Asked
    assignment: str | None = None
    seat: int = 0
    state: str = State.CONNECTING.value
    outcome: str = Status.NONE.value
    submitted: bool = False
    link_ended: bool = False
    told: bool = False
    asked: list[Asked] = field(default_factory=list)
    past: deque[msgspec.Raw] = field(default_factory=deque)
    past_bytes: int = 0
    seen: dict[str, None] = field(default_factory=dict)
    noted: dict[str, None] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether its life has ended."""
        return self.state in FINAL_STATES

    @property
    def owes_submission(self) -> bool:
        """Its partner left, and what it has done is still to come."""
        return self.outcome == Status.PARTNER_DISCONNECT and not self.submitted

    def fire(self, trigger: str, outcome: str | None = None) -> Row | None:
        """Move by the lifecycle table; see ``LifecycleMachine.fire``."""
        return _machine.fire(self, trigger, outcome)

    def remember(self, update: msgspec.Raw, most: int, most_bytes: int) -> None:
        """Keep a live update for a reload, and of all no more than so many and so much."""
        self.past.append(update)
        self.past_bytes += len(bytes(update))
        while len(self.past) > most or self.past_bytes > most_bytes:
            self.past_bytes -= len(bytes(self.past.popleft()))

    def forget_past(self) -> None:
        """No reload will need it."""
        self.past.clear()
        self.past_bytes = 0

    def copy(self) -> BackendAgent:
        """An independent copy."""
        return replace(
            self,
            asked=self.asked.copy(),
            past=self.past.copy(),
            seen=self.seen.copy(),
            noted=self.noted.copy(),
        )

    def key(self, rename: Callable[[str], Hashable]) -> Hashable:
        """Canonical and hashable, with its own id renamed."""
        return (
            rename(self.agent_id),
            self.worker,
            self.registration,
            self.connection,
            (rename(f"request {self.registered_by.request_id}"), self.registered_by.connection),
            self.assignment,
            self.seat,
            self.state,
            self.outcome,
            self.submitted,
            tuple((rename(f"request {a.request_id}"), a.connection) for a in self.asked),
            tuple(bytes(data) for data in self.past),
            tuple(self.seen),
            tuple(self.noted),
        )


@dataclass(slots=True)
class BackendState:
    """Everything that a backend remembers.

    Args:
        channels: by their names; a channel outlives its sockets.
        agents: by their current ids.
        aliases: former ids, each with the current one.
        registrations: (worker's name, registration id) -> current agent id.
        refused: registrations that got no agent, the oldest first, each with the reason.
        units_named, onboardings_named: how many ids were given; ids count from 1.
    """

    channels: dict[str, Outbox] = field(default_factory=dict)
    agents: dict[str, BackendAgent] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    registrations: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: dict[Asked, str] = field(default_factory=dict)
    pool: WorkerPool = field(default_factory=WorkerPool)
    units_named: int = 0
    onboardings_named: int = 0

    def outbox(self, channel: str) -> Outbox:
        """What goes to the router at the other end of this channel, kept until proven read."""
        return self.channels.setdefault(channel, Outbox())

    def find(self, agent_id: str) -> BackendAgent | None:
        """The agent with this id, now or formerly."""
        return self.agents.get(self.aliases.get(agent_id, agent_id))

    def registered(self, worker: str, registration: str) -> BackendAgent | None:
        """The agent that this registration got last."""
        return self.agents.get(self.registrations.get((worker, registration), ""))

    def remember_refusal(self, request: Asked, reason: str, most: int) -> None:
        """Keep the answer to a registration for its copies, and the answers to the last so many."""
        self.refused[request] = reason
        if len(self.refused) > most:
            del self.refused[next(iter(self.refused))]

    def add_onboarding(self, worker: str, registration: str, request: Asked) -> BackendAgent:
        """A new agent in the onboarding."""
        self.onboardings_named += 1
        return self._add(f"onboarding_{self.onboardings_named}", worker, registration, request)

    def add_agent(self, worker: str, registration: str, request: Asked) -> BackendAgent:
        """A new agent that needs no onboarding."""
        self.units_named += 1
        return self._add(str(self.units_named), worker, registration, request)

    def rename(self, agent: BackendAgent) -> None:
        """The onboarding is passed: one life, carried on under a new id."""
        self.units_named += 1
        former, agent.agent_id = agent.agent_id, str(self.units_named)
        del self.agents[former]
        self.agents[agent.agent_id] = agent
        self.aliases[former] = agent.agent_id
        self.registrations[agent.worker, agent.registration] = agent.agent_id

    def copy(self) -> BackendState:
        """An independent copy."""
        return replace(
            self,
            channels={name: outbox.copy() for name, outbox in self.channels.items()},
            agents={name: agent.copy() for name, agent in self.agents.items()},
            aliases=self.aliases.copy(),
            registrations=self.registrations.copy(),
            refused=self.refused.copy(),
            pool=self.pool.copy(),
        )

    def key(self) -> Hashable:
        """Canonical and hashable: ids renumbered by first appearance, no counters.

        Without ``refused``: only the copy of a request meets it, and gets what the first one got.
        """
        rename = Renamer()
        return (
            tuple(
                sorted((name, outbox.key(rename, str)) for name, outbox in self.channels.items())
            ),
            tuple(agent.key(rename) for agent in self.agents.values()),
            tuple(sorted((rename(old), rename(new)) for old, new in self.aliases.items())),
            tuple(sorted((name, rename(agent)) for name, agent in self.registrations.items())),
            self.pool.key(rename),
        )

    def _add(self, agent_id: str, worker: str, registration: str, request: Asked) -> BackendAgent:
        agent = BackendAgent(agent_id, worker, registration, request.connection, request)
        self.agents[agent_id] = agent
        self.registrations[worker, registration] = agent_id
        return agent
