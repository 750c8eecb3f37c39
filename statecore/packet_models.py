"""The packets' typed view: one frozen pydantic model for each packet type.

For clients (``client.py`` among them), tests and programs that embed the engine; their errors name the
field. The relay and the backend read an ``Envelope`` (``envelope.py``) and, where they need what is
inside, a msgspec Struct, which costs less for each packet. A test holds the two views equal.

Importing pydantic and building the validators takes longer than all the rest of the engine, so this
module is imported where it is used, and each validator is built when it is first needed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from statecore.status import Status

__all__ = [
    "AgentDetails",
    "AgentDetailsData",
    "Alive",
    "ClientBoundLiveUpdate",
    "Heartbeat",
    "LogError",
    "MephistoBoundLiveUpdate",
    "Packet",
    "ProviderData",
    "RegisterAgent",
    "RegisterAgentData",
    "RequestStatuses",
    "ReturnStatuses",
    "SubmitMetadata",
    "SubmitOnboarding",
    "SubmitOnboardingData",
    "SubmitUnit",
    "UpdateStatus",
    "UpdateStatusData",
    "packet_adapter",
]


class _Data(BaseModel):
    """What a packet carries: frozen, and fields that we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class _Packet(BaseModel):
    """The seven keys. Timestamps are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    subject_id: str
    client_timestamp: float | None = None
    router_incoming_timestamp: float | None = None
    router_outgoing_timestamp: float | None = None
    server_timestamp: float | None = None


class Alive(_Packet):
    """A socket is open and says whose it is."""

    packet_type: Literal["alive"] = "alive"
    subject_id: str = ""
    data: dict[str, Any] | None = None


class ProviderData(_Data):
    """The crowd provider's words about the worker; upstream's core never answers without these."""

    worker_name: str = Field(min_length=1)
    agent_registration_id: str = Field(min_length=1)


class RegisterAgentData(_Data):
    """A worker asks for a seat."""

    provider_data: ProviderData
    request_id: str


class RegisterAgent(_Packet):
    """Asks the core for an agent; never sent twice, for two units would be taken."""

    packet_type: Literal["register_agent"] = "register_agent"
    data: RegisterAgentData


class AgentDetailsData(_Data):
    """The answer to a registration or an onboarding; ``agent_id`` is null in a refusal.

    ``status`` is our backend's addition, and upstream's pages do not read it: how an agent ended
    whose worker came back.
    """

    request_id: str
    worker_id: str | None = None
    agent_id: str | None = None
    init_task_data: Any = None
    failure_reason: str | None = None
    status: str | None = None


class AgentDetails(_Packet):
    """Answers register_agent and submit_onboarding."""

    packet_type: Literal["agent_details"] = "agent_details"
    data: AgentDetailsData


class SubmitOnboardingData(_Data):
    """What the worker answered in the onboarding."""

    onboarding_data: Any
    request_id: str


class SubmitOnboarding(_Packet):
    """An onboarding's answers; answered with agent_details."""

    packet_type: Literal["submit_onboarding"] = "submit_onboarding"
    data: SubmitOnboardingData


class SubmitUnit(_Packet):
    """A worker's finished work."""

    packet_type: Literal["submit_unit"] = "submit_unit"
    data: Any = None


class SubmitMetadata(_Packet):
    """Tips and feedback after the work."""

    packet_type: Literal["submit_metadata"] = "submit_metadata"
    data: dict[str, Any]


class MephistoBoundLiveUpdate(_Packet):
    """Live data from a page to the core."""

    packet_type: Literal["mephisto_bound_live_update"] = "mephisto_bound_live_update"
    data: dict[str, Any]


class ClientBoundLiveUpdate(_Packet):
    """Live data from the core to a page."""

    packet_type: Literal["client_bound_live_update"] = "client_bound_live_update"
    data: dict[str, Any]


class UpdateStatusData(_Data):
    """The status as the core has it."""

    status: Status


class UpdateStatus(_Packet):
    """The core pushes an agent's status."""

    packet_type: Literal["update_status"] = "update_status"
    data: UpdateStatusData


class RequestStatuses(_Packet):
    """The core's poll, and its heartbeat."""

    packet_type: Literal["request_statuses"] = "request_statuses"
    data: dict[str, Any] | None = None


class ReturnStatuses(_Packet):
    """The router's answer to the poll."""

    packet_type: Literal["return_statuses"] = "return_statuses"
    data: dict[str, str]


class LogError(_Packet):
    """Something went wrong: told to the core by a page, or to a peer by the router."""

    packet_type: Literal["log_error"] = "log_error"
    data: Any = None


class Heartbeat(_Packet):
    """A page lives; the answer tells when the core was last heard of, in milliseconds."""

    packet_type: Literal["heartbeat"] = "heartbeat"
    data: Any = None


Packet: TypeAlias = Annotated[
    Alive
    | RegisterAgent
    | AgentDetails
    | SubmitOnboarding
    | SubmitUnit
    | SubmitMetadata
    | MephistoBoundLiveUpdate
    | ClientBoundLiveUpdate
    | UpdateStatus
    | RequestStatuses
    | ReturnStatuses
    | LogError
    | Heartbeat,
    Field(discriminator="packet_type"),
]

# Validates any packet: ``packet_adapter.validate_json(frame)``.
packet_adapter: TypeAdapter[Packet] = TypeAdapter(Packet, config=ConfigDict(defer_build=True))
