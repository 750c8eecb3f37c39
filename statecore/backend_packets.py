"""Packets that a router sends to a backend, each read as what it is.

The router has scanned what pages sent, but the backend believes no router: what is not of the right
form is refused here, before anything changes. A registration that cannot be read is still answered,
for a page waits for it.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from statecore.backend_admission import refuse_worker, register, submit_onboarding
from statecore.backend_events import ErrorLogged, MetadataArrived, Refused, UpdateArrived
from statecore.backend_moves import Backend
from statecore.backend_state import Asked, BackendAgent, short_name
from statecore.checks import MAX_REGISTRATION, Provider, check_packet, check_provider
from statecore.effects import Count
from statecore.envelope import Envelope, decode_json
from statecore.errors import PacketDecodeError, RemoteProtocolError
from statecore.lifecycle import LIFECYCLE, Trigger
from statecore.packets import PacketType, Party
from statecore.status import Status
from statecore.worker_pool import FailureReason

__all__ = ["take_packet"]

_T = TypeVar("_T")
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REGISTRATION)]


class _Registration(msgspec.Struct):
    provider_data: Provider
    request_id: _Name


class _Onboarding(msgspec.Struct):
    request_id: _Name
    onboarding_data: msgspec.Raw = msgspec.Raw(b"null")


class _Update(msgspec.Struct):
    update_id: msgspec.Raw = msgspec.Raw()


_STATUSES = frozenset(status.value for status in Status)


def take_packet(backend: Backend, connection: str, packet: Envelope) -> None:
    """Take one packet that came by this channel.

    Raises:
        RemoteProtocolError: it is not taken, and nothing has changed.
    """
    if packet.packet_type == PacketType.REGISTER_AGENT:
        _register(backend, connection, packet)  # answered in any case
        return
    match check_packet(packet, Party.ROUTER).packet_type:
        case PacketType.MEPHISTO_BOUND_LIVE_UPDATE:
            _live_update(backend, _agent(backend, packet), packet.data)
        case PacketType.SUBMIT_UNIT:
            backend.submit_unit(_agent(backend, packet), packet.data)
        case PacketType.SUBMIT_ONBOARDING:
            onboarding = _read(backend, _Onboarding, packet)
            asked = Asked(onboarding.request_id, connection)
            submit_onboarding(backend, packet.subject_id, asked, onboarding.onboarding_data)
        case PacketType.SUBMIT_METADATA:
            _metadata(backend, _agent(backend, packet), packet)
        case PacketType.RETURN_STATUSES:
            _return_statuses(backend, connection, packet)
        case _:
            backend.out.append(ErrorLogged(packet.subject_id, packet.data))


def _register(backend: Backend, connection: str, packet: Envelope) -> None:
    try:
        registration = _read(backend, _Registration, packet)
        check_provider(registration.provider_data)
    except RemoteProtocolError as error:
        # On the wire the subject of a registration is its request id.
        if len(packet.subject_id) > MAX_REGISTRATION:
            raise
        asked = Asked(packet.subject_id, connection)
        refuse_worker(backend, asked, "", FailureReason.UNREADABLE)
        backend.out.append(Count("refused", error.error_type))
        backend.out.append(Refused(connection, error.error_type, str(error)))
        return
    provider = registration.provider_data
    asked = Asked(registration.request_id, connection)
    register(backend, provider.worker_name, provider.agent_registration_id, asked)


def _live_update(backend: Backend, agent: BackendAgent, data: msgspec.Raw) -> None:
    """Hand live data to the task, unless it is a repeat."""
    update_id = _update_id(data)
    known_by = None if update_id is None else short_name(update_id)
    if known_by in agent.seen:
        backend.out.append(Count("repeated", PacketType.MEPHISTO_BOUND_LIVE_UPDATE))
        return
    reason = LIFECYCLE.refused.get((agent.state, Trigger.LIVE_UPDATE))
    if reason is not None:
        raise RemoteProtocolError(
            f"live_update of agent {agent.agent_id} while {agent.state}: {reason}",
            error_type="illegal-in-state",
            expected="no live updates after the end",
        )
    if known_by is not None:
        agent.seen[known_by] = None
        if len(agent.seen) > backend.options.seen_updates:
            del agent.seen[next(iter(agent.seen))]
    backend.out.append(UpdateArrived(agent.agent_id, data, update_id))


def _metadata(backend: Backend, agent: BackendAgent, packet: Envelope) -> None:
    """Hand metadata to the task, unless it is a repeat.

    It has no id on the wire. Routers send it again, after a reconnect or because of a fault, with
    the page's timestamp and content unchanged: by these a repeat is known, also after the end.
    """
    content = f"{packet.client_timestamp} ".encode() + bytes(packet.data)
    digest = blake2b(content, digest_size=16).hexdigest()
    if digest in agent.noted:
        backend.out.append(Count("repeated", PacketType.SUBMIT_METADATA))
        return
    agent.noted[digest] = None
    if len(agent.noted) > backend.options.seen_metadata:
        del agent.noted[next(iter(agent.noted))]
    backend.out.append(MetadataArrived(agent.agent_id, packet.data))


def _update_id(data: msgspec.Raw) -> str | None:
    """What a repeat is known by: the id's text, or none when there is none."""
    raw = bytes(decode_json(_Update, bytes(data), limit=len(bytes(data))).update_id)
    if raw[:1] == b'"':
        return json.loads(raw)  # type: ignore[no-any-return]  # a JSON string
    return raw.decode() if raw not in (b"", b"null") else None


def _return_statuses(backend: Backend, connection: str, packet: Envelope) -> None:
    """Compare what the router reports with what is; only of agents on this channel."""
    try:
        reported = _statuses.decode(packet.data)
    except msgspec.DecodeError as error:
        raise PacketDecodeError(
            f"return_statuses: {error}",
            error_type="wrong-type",
            field="data",
            expected="an object of agent ids and statuses",
        ) from None
    for agent_id, status in reported.items():
        if status not in _STATUSES:
            backend.out.append(Count("unknown-status", status[:64]))
            continue
        # A former id is nobody's: its life goes on under another.
        agent = backend.state.agents.get(agent_id)
        if agent is not None and agent.connection == connection:
            backend.reported(agent, status)


def _agent(backend: Backend, packet: Envelope) -> BackendAgent:
    agent = backend.state.find(packet.subject_id)
    if agent is None:
        raise RemoteProtocolError(
            f"{packet.packet_type} of {packet.subject_id[:64]!r}, which is no agent",
            error_type="unknown-agent",
            field="subject_id",
            expected="an agent id that agent_details named",
        )
    return agent


def _read(backend: Backend, kind: type[_T], packet: Envelope) -> _T:
    return decode_json(kind, bytes(packet.data), limit=backend.options.frame_limit)


_statuses = msgspec.json.Decoder(dict[str, str])
