"""What a backend decides: which work counts, what ends, and who is told; who gets in is elsewhere.

``Backend`` is one call's view of the state: it changes the state and collects the effects in their
order. ``backend.py`` makes one for each event. A method either refuses before it changes anything, or
does all of what it says.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from statecore.backend_events import (
    AddAssignment,
    AgentEnded,
    BackendEffect,
    EndAgent,
    SendUpdate,
    Submitted,
)
from statecore.backend_state import Asked, BackendAgent, BackendState
from statecore.delivery import weight
from statecore.effects import Count, Effect
from statecore.envelope import Envelope, encode_data, is_object
from statecore.errors import LocalProtocolError
from statecore.lifecycle import STATUS_TRIGGERS, Action, Trigger
from statecore.packets import PacketType
from statecore.settings import BackendOptions
from statecore.status import FINAL_STATES, STATE_OF, State, Status
from statecore.worker_pool import Assignment

__all__ = ["Backend", "init_data_limit"]

# What else an agent_details holds: a request id, the channel's name, keys and timestamps.
_ANSWER_ROOM = 16 << 10

_FINAL_STATUSES = tuple(status for status in STATUS_TRIGGERS if STATE_OF[status] in FINAL_STATES)


class Backend:
    """The moves on a state, with the effects that they make."""

    __slots__ = ("options", "out", "pool", "state")

    def __init__(self, state: BackendState, options: BackendOptions) -> None:
        self.state = state
        self.pool = state.pool
        self.options = options
        self.out: list[BackendEffect] = []

    # Work ------------------------------------------------------------------------------------

    def submit_unit(self, agent: BackendAgent, data: msgspec.Raw) -> None:
        """Finished work: taken in whatever state, and once."""
        if agent.assignment is None:
            raise LocalProtocolError(
                f"agent {agent.agent_id} has no unit to submit",
                error_type="no-unit",
                field="subject_id",
                expected="an agent that is past its onboarding",
            )
        row = agent.fire(Trigger.SUBMIT_UNIT)
        assert row is not None
        if row.action == Action.ANSWER_ONLY:
            self.out.append(Count("repeated", PacketType.SUBMIT_UNIT))
            self.tell_status(agent)
            return
        owed = agent.owes_submission
        agent.submitted = True
        if owed:
            agent.fire(Trigger.STATUS_COMPLETED)
        self.tell_status(agent)
        assignment = self.assignment_of(agent)
        if assignment.seats[agent.seat] is None and not self.options.is_live:
            # Its unit went back to the pool, and nobody has it yet: it is done after all.
            worker = self.pool.workers[agent.worker]
            self.pool.take(worker, assignment, agent.seat, agent.agent_id)
        self.out.append(
            Submitted(agent.agent_id, assignment.unit_id(agent.seat), data, agent.outcome)
        )
        if row.dest is not None:
            self._ended(agent)
        elif owed:
            self._forget_updates(agent)

    def send_update(self, event: SendUpdate) -> None:
        """Live data for a page, kept for its reload."""
        agent = self._named(event.agent_id)
        if not is_object(event.data):
            raise LocalProtocolError(
                f"the update for agent {event.agent_id} is no object",
                error_type="wrong-type",
                field="data",
                expected="a JSON object",
            )
        data = _with(event.data, b"update_id", bytes(encode_data(event.update_id)))
        packet = Envelope(PacketType.CLIENT_BOUND_LIVE_UPDATE, agent.agent_id, data)
        if weight(packet) > self.options.router_limit:
            raise LocalProtocolError(
                f"the update for agent {event.agent_id} is too large: {weight(packet):,} bytes",
                error_type="too-large",
                field="data",
                expected=f"at most {self.options.router_limit:,} bytes, which a router takes",
            )
        outbox = self.state.outbox(agent.connection)
        if not outbox.has_room(packet, self.options.outbox_bytes):
            raise LocalProtocolError(
                f"too much waits already for the router of agent {event.agent_id}",
                error_type="outbox-full",
                expected="the router to come back; wait for BackendCore.has_room",
            )
        agent.remember(data, self.options.past_updates, self.options.past_bytes)
        self._send(agent.connection, packet)
        if outbox.size >= self.options.outbox_bytes // 2:
            # Whoever asks has_room now waits for a pong: it shall not wait for the next poll.
            asked: list[Effect] = []
            outbox.ping(asked)
            self.out.extend(asked)

    def add_assignment(self, event: AddAssignment) -> None:
        """New work; somebody may be told of it at the next registration."""
        problem = ""
        if event.assignment_id in self.pool.assignments:
            problem = "its id is used already"
        elif event.seats < 1:
            problem = f"it has {event.seats} seats, not at least one"
        elif event.unit_data and len(event.unit_data) != event.seats:
            problem = f"it has {event.seats} seats and data for {len(event.unit_data)}"
        elif self.options.is_live and not all(map(is_object, (event.data, *event.unit_data))):
            problem = "the data of a live task is a JSON object, and its is not"
        else:
            size = max(len(bytes(data)) for data in (event.data, *event.unit_data))
            if size > init_data_limit(self.options):
                problem = (
                    f"its data has {size:,} bytes, and a router takes "
                    f"{init_data_limit(self.options):,} at most"
                )
        if problem:
            raise LocalProtocolError(
                f"assignment {event.assignment_id!r} is not added: {problem}",
                error_type="bad-assignment",
            )
        self.pool.add(
            Assignment(event.assignment_id, event.data, event.unit_data, [None] * event.seats)
        )

    # The end ---------------------------------------------------------------------------------

    def end_agent(self, event: EndAgent) -> None:
        """The task's program ends an agent; one that has ended stays as it is."""
        agent = self._named(event.agent_id)
        if event.status not in _FINAL_STATUSES:
            raise LocalProtocolError(
                f"{event.status!r} does not end agent {event.agent_id}",
                error_type="bad-status",
                field="status",
                expected=", ".join(_FINAL_STATUSES),
            )
        if agent.is_final and not agent.owes_submission:
            raise LocalProtocolError(
                f"agent {event.agent_id} has ended already with {agent.outcome!r}",
                error_type="already-ended",
                field="agent_id",
                expected="an agent that has not ended",
            )
        self.push(agent, Status(event.status), reuse=event.reuse)

    def reported(self, agent: BackendAgent, status: str) -> None:
        """A router's report of one agent. "disconnect" is believed, the rest only healed."""
        if status == agent.outcome or agent.state == State.FAILED:
            return
        if not agent.is_final:
            if status == Status.DISCONNECT:
                self.push(agent, Status.DISCONNECT)
                return
            if status == Status.COMPLETED:
                return  # a submission is on its way, and will say so itself
        self.tell_status(agent)

    def push(self, agent: BackendAgent, status: Status, *, reuse: bool = True) -> None:
        """Decide an agent's status: fire its trigger, tell the page what came of it."""
        was_final = agent.is_final
        row = agent.fire(STATUS_TRIGGERS[status])
        assert row is not None, "only decided for agents that it can still move"
        self.tell_status(agent)
        if agent.is_final and not was_final:
            self._ended(agent, reuse=reuse)

    def tell_status(self, agent: BackendAgent) -> None:
        """Push an agent's status to its page, as it is."""
        data = encode_data({"status": agent.outcome})
        packet = Envelope(PacketType.UPDATE_STATUS, agent.agent_id, data)
        self._send(agent.connection, packet)

    def _ended(self, agent: BackendAgent, *, reuse: bool = True) -> None:
        """What follows when a life has ended: the task is told, the unit freed, partners too."""
        has_left = agent.state == State.DISCONNECTED
        self.out.append(AgentEnded(agent.agent_id, agent.outcome, has_left, agent.owes_submission))
        if not agent.owes_submission:
            self._forget_updates(agent)
        if agent.assignment is None:
            return
        assignment = self.assignment_of(agent)
        if assignment.has_started:
            if has_left:
                for partner in map(self.state.agents.__getitem__, [*assignment.partners]):
                    if not partner.is_final:
                        self.push(partner, Status.PARTNER_DISCONNECT)
            return
        if self.options.is_live or (has_left and reuse and self.options.reuse_units):
            worker = self.pool.workers[agent.worker]
            self.pool.give_back(worker, assignment, agent.seat)

    def _forget_updates(self, agent: BackendAgent) -> None:
        """Nothing is left to do for its page, and thousands of agents may have ended.

        The last ids stay: a router may still repeat what it sent before the end.
        """
        agent.forget_past()
        for update_id in list(agent.seen)[: -self.options.seen_after_end]:
            del agent.seen[update_id]

    # Answers ---------------------------------------------------------------------------------

    def answer(self, agent: BackendAgent, asked: Asked) -> None:
        """The answer that names an agent, with what its page needs."""
        worker = self.pool.workers[agent.worker]
        # A static page has no socket on which it could hear that it came back to something over (S10).
        ended = agent.outcome if agent.is_final else None
        self.send_details(
            asked, worker.worker_id, agent.agent_id, self._init_data(agent), None, ended
        )

    def _init_data(self, agent: BackendAgent) -> msgspec.Raw:
        if agent.assignment is None:
            data = msgspec.Raw(self.options.onboarding_data)
        else:
            data = self.assignment_of(agent).data_of(agent.seat)
        if not is_object(data) or not (self.options.is_live or agent.past):
            return data
        # What does not fit into the answer any more is left out, the oldest first.
        room = init_data_limit(self.options) - len(bytes(data))
        first = len(agent.past)
        while first > 0 and (room := room - len(bytes(agent.past[first - 1])) - 1) >= 0:
            first -= 1
        past = map(bytes, islice(agent.past, first, None))
        return _with(data, b"past_live_updates", b"[" + b",".join(past) + b"]")

    def send_details(
        self,
        asked: Asked,
        worker_id: str | None,
        agent_id: str | None,
        init_task_data: msgspec.Raw | None,
        failure_reason: str | None,
        ended: str | None = None,
    ) -> None:
        """One agent_details, to the channel that the question came by."""
        details: dict[str, object] = {
            "request_id": asked.request_id,
            "worker_id": worker_id,
            "agent_id": agent_id,
            "init_task_data": init_task_data,
            "failure_reason": failure_reason,
        }
        if ended is not None:
            details["status"] = ended
        packet = Envelope(PacketType.AGENT_DETAILS, asked.connection, encode_data(details))
        self._send(asked.connection, packet)

    def _send(self, channel: str, packet: Envelope) -> None:
        sent: list[Effect] = []
        self.state.outbox(channel).add(packet, sent)
        self.out.extend(sent)

    def _named(self, agent_id: str) -> BackendAgent:
        agent = self.state.find(agent_id)
        if agent is None:
            raise LocalProtocolError(
                f"there is no agent {agent_id!r}",
                error_type="unknown-agent",
                field="agent_id",
                expected="an agent that an effect named",
            )
        return agent

    def assignment_of(self, agent: BackendAgent) -> Assignment:
        """What this agent works on; it is past its onboarding."""
        assert agent.assignment is not None
        return self.pool.assignments[agent.assignment]


def init_data_limit(options: BackendOptions) -> int:
    """The most bytes that a page can get as ``init_task_data``: an answer holds other things too."""
    return options.router_limit - _ANSWER_ROOM


def _with(data: msgspec.Raw, key: bytes, value: bytes) -> msgspec.Raw:
    """A JSON object with one more key, spliced in: what the author wrote stays as it is."""
    inner = bytes(data).strip()[1:-1].strip()
    return msgspec.Raw(b"{" + inner + (b"," if inner else b"") + b'"' + key + b'":' + value + b"}")
