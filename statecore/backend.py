"""``BackendCore``: the program that owns a task, without any I/O. Events in, effects out.

Theory of operation
-------------------
A backend stands at the other end of one or more routers. It lets workers in, gives them units, and
is the authority on every agent's status. What the task itself does is the author's program's
business: it gets effects such as ``StartUnit`` and gives events such as ``SendUpdate``.

1. A *channel* is the way to one router; as a connection it opens and closes again and again under
   one name. Each time it opens, the router is told ``alive``, then what it may have missed while it
   was closed (``delivery.py``), and then asked for its statuses, now and again.
2. An agent's page is reached by the channel on which the agent registered last.
3. Every ``register_agent`` and ``submit_onboarding`` is answered once with ``agent_details``; an
   onboarding's answer waits for the judgement. The same question again gets the same answer again,
   so a router that lost an answer with its socket may ask once more.
4. Agents move by ``lifecycle.py`` alone. The backend decides by firing the trigger of the status
   that it wants, and pushes the status that came of it.
5. A status that a router reports heals differences: where it is not our own, ours is pushed again.
   Only "disconnect" is news: it is believed of an agent that has not ended, and final.
6. Work is never refused for the agent's state, and counted once.

``receive`` never raises for what a peer or the task's program did: what cannot be taken changes
nothing and comes back as ``Refused``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import assert_never

from statecore.backend_admission import judge_onboarding
from statecore.backend_events import (
    AddAssignment,
    BackendEffect,
    BackendEvent,
    BlockWorker,
    CloseRun,
    EndAgent,
    JudgeOnboarding,
    Refused,
    SendUpdate,
)
from statecore.backend_moves import Backend, init_data_limit
from statecore.backend_packets import take_packet
from statecore.backend_state import BackendAgent, BackendState
from statecore.effects import CancelTimer, Count, Effect, Send, SetTimer
from statecore.envelope import Envelope, decode_envelope
from statecore.errors import LocalProtocolError, ProtocolError
from statecore.events import Closed, Frame, Opened, Ponged, Request, TimerFired
from statecore.packets import SYSTEM_ID, PacketType
from statecore.settings import BackendOptions

__all__ = ["BackendCore"]

_TASK = "task"


class BackendCore:
    """The state of one task run and its one entry, ``receive``.

    Raises:
        LocalProtocolError: the onboarding's data is larger than a router takes.
    """

    def __init__(self, options: BackendOptions | None = None) -> None:
        self.options = options or BackendOptions()
        size, limit = len(self.options.onboarding_data), init_data_limit(self.options)
        if size > limit:
            raise LocalProtocolError(
                f"onboarding_data has {size:,} bytes",
                error_type="too-large",
                field="onboarding_data",
                expected=f"at most {limit:,} bytes, which a router takes",
            )
        self.state = BackendState()

    def start(self) -> tuple[BackendEffect, ...]:
        """Nothing: the first thing that happens is a channel that opens."""
        return ()

    def receive(self, event: BackendEvent) -> tuple[BackendEffect, ...]:
        """Take one event and return what is to be done, in order."""
        backend = Backend(self.state, self.options)
        try:
            self._take(backend, event)
        except ProtocolError as error:
            source = event.connection if isinstance(event, Frame) else _TASK
            return (
                Count("refused", error.error_type),
                Refused(source, error.error_type, str(error)),
            )
        return tuple(backend.out)

    def agent(self, agent_id: str) -> BackendAgent | None:
        """The agent with this id, now or formerly; to read."""
        return self.state.find(agent_id)

    def has_room(self, agent_id: str) -> bool:
        """Whether an update for this agent would be taken; an unknown agent keeps nobody waiting.

        A program that sends much asks this first, and again after each ``Ponged``.
        """
        agent = self.state.find(agent_id)
        if agent is None:
            return True
        # Half of the bound, so that whatever is sent next still fits, with all that comes at once.
        return self.state.outbox(agent.connection).size < self.options.outbox_bytes // 2

    def copy(self) -> BackendCore:
        """An independent copy, for exploring."""
        other = BackendCore(self.options)
        other.state = self.state.copy()
        return other

    def key(self) -> Hashable:
        """Equal for states that behave alike: ids renumbered, no times."""
        return self.state.key()

    def _take(self, backend: Backend, event: BackendEvent) -> None:
        """Check, then change: whoever raises has changed nothing."""
        match event:
            case Frame(connection=name, payload=payload, at=at):
                packet = decode_envelope(payload, at, limit=self.options.frame_limit)
                take_packet(backend, name, packet)
            case SendUpdate():
                backend.send_update(event)
            case TimerFired(key=("poll", name)):
                self._poll(backend, name)
            case Opened(connection=name, pings=pings):
                out: list[Effect] = [Send(name, Envelope(PacketType.ALIVE, SYSTEM_ID))]
                self.state.outbox(name).connect(name, pings=pings, out=out)
                out.append(SetTimer(("poll", name), self.options.first_poll))
                backend.out.extend(out)
            case Closed(connection=name):
                outbox = self.state.channels.get(name)
                if outbox is not None and outbox.connection is not None:
                    outbox.disconnect()
                    backend.out.append(CancelTimer(("poll", name)))
            case Ponged(connection=name, token=token):
                out = []
                self.state.outbox(name).ponged(token, out)
                backend.out.extend(out)
            case AddAssignment():
                backend.add_assignment(event)
            case JudgeOnboarding():
                judge_onboarding(backend, event)
            case EndAgent():
                backend.end_agent(event)
            case BlockWorker(worker_name=name):
                worker = self.state.pool.worker(name)
                worker.is_blocked = True
                self.state.pool.enter(worker)
            case CloseRun():
                self.state.pool.is_closed = True
            case TimerFired() | Request():
                raise LocalProtocolError(
                    f"{event!r} is nothing for a backend",
                    error_type="wrong-event",
                    expected="no requests, and only timers that were set",
                )
            case _:
                assert_never(event)

    def _poll(self, backend: Backend, name: str) -> None:
        outbox = self.state.channels.get(name)
        if outbox is None or outbox.connection is None:
            return
        out: list[Effect] = [Send(name, Envelope(PacketType.REQUEST_STATUSES, SYSTEM_ID))]
        outbox.ping(out)  # for what is not proven read yet
        out.append(SetTimer(("poll", name), self.options.poll))
        backend.out.extend(out)
