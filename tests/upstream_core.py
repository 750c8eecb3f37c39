"""A core that behaves as upstream's does, as far as a router can tell; no I/O, no time.

It fails where upstream's raises and closes its connection: on a packet about an agent that it does not
know, on what it cannot read, on the same registration in flight twice (docs/protocol.md section 3).
"""

from __future__ import annotations

import json
from typing import Any

from statecore.envelope import Envelope, encode_envelope

__all__ = ["UpstreamCore"]

LIVE = ("waiting", "in task", "onboarding")
MAX_MESSAGE = 1 << 20


class UpstreamCore:
    """What it knows, and the packets that it would like to send: ``outgoing``, lost while away."""

    def __init__(self) -> None:
        self.is_connected = False
        self.outgoing: list[dict[str, Any]] = []
        self.statuses: dict[str, str] = {}
        self.agents: dict[str, str] = {}  # registration id to agent id
        self.answers: list[tuple[str, str]] = []  # request id and registration, not yet answered
        self.handed_in: dict[str, str] = {}  # onboarding agent to its request id
        self.onboarded: set[str] = set()
        self.units: dict[str, Any] = {}
        self.metadata: list[tuple[str, Any]] = []
        self.updates: list[tuple[str, str]] = []
        self.protected: set[str] = set()  # agents that nobody may report as disconnected

    # What it does by itself ---------------------------------------------------------------------

    def say(self, packet_type: str, subject_id: str, data: Any) -> None:
        """Send, or lose it while the connection is down."""
        if self.is_connected:
            told = {"packet_type": packet_type, "subject_id": subject_id, "data": data}
            self.outgoing.append(told)

    def push(self, agent_id: str) -> None:
        self.say("update_status", agent_id, {"status": self.statuses[agent_id]})

    def move(self, agent_id: str, status: str) -> None:
        if self.statuses[agent_id] in LIVE:
            self.statuses[agent_id] = status
            self.push(agent_id)

    def drop(self) -> None:
        self.is_connected = False
        self.outgoing.clear()

    def answer(self, choice: str) -> None:
        """Answer the oldest registration: with an agent, an onboarding or a refusal."""
        request_id, registration = self.answers.pop(0)
        agent_id: str | None = self.agents.get(registration)
        if agent_id is None and choice != "refuse":
            kind = "onboarding_" if choice == "onboard" else ""
            agent_id = self._new(kind, registration)
        self._details(request_id, agent_id)
        if agent_id is not None:
            self.push(agent_id)

    def judge(self, agent_id: str, *, passed: bool) -> None:
        """An onboarding that was handed in passes, or fails."""
        request_id = self.handed_in.pop(agent_id)
        self.onboarded.add(agent_id)
        registration = next(r for r, known in self.agents.items() if known == agent_id)
        del self.agents[registration]
        new = self._new("", registration) if passed else None
        self._details(request_id, new)
        if new is not None:
            self.push(new)

    def _new(self, kind: str, registration: str) -> str:
        number = 1 + sum(known.startswith(kind or tuple("123456789")) for known in self.statuses)
        agent_id = f"{kind}{number}"
        self.statuses[agent_id] = "onboarding" if kind else "waiting"
        self.agents[registration] = agent_id
        return agent_id

    def _details(self, request_id: str, agent_id: str | None) -> None:
        data = {
            "request_id": request_id,
            "worker_id": agent_id and "7",
            "agent_id": agent_id,
            "init_task_data": None,
            "failure_reason": None if agent_id else "No tasks are available",
        }
        self.say("agent_details", "channel", data)

    # What it makes of a packet -------------------------------------------------------------------

    def receive(self, packet: Envelope) -> None:
        message = encode_envelope(packet)
        assert len(message) <= MAX_MESSAGE
        data = json.loads(message)["data"]
        subject = packet.subject_id
        match packet.packet_type:
            case "register_agent":
                registration = data["provider_data"]["agent_registration_id"]
                self.answers.append((data["request_id"], registration))
            case "submit_onboarding":
                self._onboarding(subject, data)
            case "submit_unit":
                assert subject in self.statuses, f"Could not find given agent: {subject}"
                self.units.setdefault(subject, data)
                self.move(subject, "completed")
            case "submit_metadata":
                assert subject in self.statuses, f"Could not find given agent: {subject}"
                assert data["tips"]["header"]
                self.metadata.append((subject, data["tips"]["text"]))
            case "mephisto_bound_live_update":
                assert subject in self.statuses, f"Could not find given agent: {subject}"
                if (subject, data["update_id"]) not in self.updates:
                    self.updates.append((subject, data["update_id"]))
            case "return_statuses":
                for agent_id, status in data.items():
                    self._reported(agent_id, status)
            case "log_error":
                assert "error_type" in data
            case other:
                raise AssertionError(f"Unexpected packet type {other}")

    def _onboarding(self, agent_id: str, data: Any) -> None:
        assert "onboarding_data" in data
        if agent_id in self.handed_in or self.statuses.get(agent_id) == "onboarding":
            self.handed_in[agent_id] = data["request_id"]
            self.move(agent_id, "waiting")
        elif agent_id in self.onboarded:
            self.push(agent_id)  # a status and nothing else: the POST is never answered

    def _reported(self, agent_id: str, status: str) -> None:
        mine = self.statuses.get(agent_id)
        if mine is None or status in (mine, "completed") or agent_id in self.onboarded:
            return
        if status == "disconnect":
            assert agent_id not in self.protected, "a submission was in time, and yet a disconnect"
            self.statuses[agent_id] = status
        self.push(agent_id)
