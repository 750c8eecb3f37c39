"""The packet types: who sends each, to whom, about whom, and what its data holds.

``PACKETS`` is the table that the router obeys and docs/protocol.md is generated from. ``envelope.py`` is
the relay's view of a packet, ``packet_models.py`` the typed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "PACKETS",
    "SYSTEM_ID",
    "PacketRule",
    "PacketType",
    "Party",
]

# The subject of packets between the router and the core themselves.
SYSTEM_ID = "mephisto"


class PacketType(StrEnum):
    """The wire's packet types (docs/protocol.md, "Packets")."""

    ALIVE = "alive"
    REGISTER_AGENT = "register_agent"
    AGENT_DETAILS = "agent_details"
    SUBMIT_ONBOARDING = "submit_onboarding"
    SUBMIT_UNIT = "submit_unit"
    SUBMIT_METADATA = "submit_metadata"
    MEPHISTO_BOUND_LIVE_UPDATE = "mephisto_bound_live_update"
    CLIENT_BOUND_LIVE_UPDATE = "client_bound_live_update"
    UPDATE_STATUS = "update_status"
    REQUEST_STATUSES = "request_statuses"
    RETURN_STATUSES = "return_statuses"
    LOG_ERROR = "log_error"
    HEARTBEAT = "heartbeat"


class Party(StrEnum):
    """The three programs that packets travel between."""

    PAGE = "page"
    ROUTER = "router"
    CORE = "core"


@dataclass(frozen=True, slots=True)
class PacketRule:
    """Who may send a packet type and what it must carry.

    Args:
        senders: the parties that a router may take it from; a packet that only the router
            sends (over HTTP's behalf) names ``ROUTER`` and is refused on every socket.
        receivers: who gets it.
        subject: what ``subject_id`` names.
        data: what ``data`` holds, for people.
        needs_object: ``data`` must be a JSON object, or upstream's core fails on it.
    """

    packet_type: PacketType
    senders: tuple[Party, ...]
    receivers: tuple[Party, ...]
    subject: str
    data: str
    needs_object: bool = True


_PAGE, _ROUTER, _CORE = Party.PAGE, Party.ROUTER, Party.CORE

PACKETS: dict[PacketType, PacketRule] = {
    rule.packet_type: rule
    for rule in (
        PacketRule(
            PacketType.ALIVE,
            (_PAGE, _CORE),
            (_ROUTER,),
            "agent id, or `mephisto` from the core",
            "`{}` from the core, `{update_id}` from the page",
            needs_object=False,
        ),
        PacketRule(
            PacketType.REGISTER_AGENT,
            (_ROUTER,),
            (_CORE,),
            "request id",
            "`{provider_data, request_id}`",
        ),
        PacketRule(
            PacketType.AGENT_DETAILS,
            (_CORE,),
            (_ROUTER,),
            "the channel's id",
            "`{request_id, worker_id, agent_id, init_task_data, failure_reason}`",
        ),
        PacketRule(
            PacketType.SUBMIT_ONBOARDING,
            (_ROUTER,),
            (_CORE,),
            "onboarding agent id",
            "`{onboarding_data, request_id, ...}`",
        ),
        PacketRule(
            PacketType.SUBMIT_UNIT,
            (_ROUTER,),
            (_CORE,),
            "agent id",
            "the page's final data, with `files` when there were uploads",
            needs_object=False,
        ),
        PacketRule(
            PacketType.SUBMIT_METADATA,
            (_ROUTER,),
            (_CORE,),
            "agent id",
            "`{tips}` or `{feedback}`",
        ),
        PacketRule(
            PacketType.MEPHISTO_BOUND_LIVE_UPDATE,
            (_PAGE,),
            (_CORE,),
            "agent id",
            "any object, with `update_id`",
        ),
        PacketRule(
            PacketType.CLIENT_BOUND_LIVE_UPDATE,
            (_CORE,),
            (_PAGE,),
            "agent id",
            "any object, with `update_id`",
        ),
        PacketRule(
            PacketType.UPDATE_STATUS,
            (_CORE,),
            (_ROUTER, _PAGE),
            "agent id",
            "`{status}`",
        ),
        PacketRule(
            PacketType.REQUEST_STATUSES,
            (_CORE,),
            (_ROUTER,),
            "`mephisto`",
            "`{}`",
            needs_object=False,
        ),
        PacketRule(
            PacketType.RETURN_STATUSES,
            (_ROUTER,),
            (_CORE,),
            "`mephisto`",
            "`{agent id: status}`",
        ),
        PacketRule(
            PacketType.LOG_ERROR,
            (_PAGE, _ROUTER),
            (_CORE, _PAGE),
            "agent id, or `mephisto` for the router's own",
            "anything from a page; `{error_type, text, field, expected}` from the router",
            needs_object=False,
        ),
        PacketRule(
            PacketType.HEARTBEAT,
            (_PAGE, _ROUTER),
            (_ROUTER, _PAGE),
            "agent id",
            "none from the page; `{last_mephisto_ping, status}` in the answer",
            needs_object=False,
        ),
    )
}
