"""An explicit state-machine engine for Mephisto's Architect API, without any I/O."""

from statecore.backend import BackendCore
from statecore.client import ClientCore
from statecore.effects import (
    CancelTimer,
    Close,
    Count,
    Effect,
    Ping,
    Reply,
    Save,
    Send,
    SetTimer,
)
from statecore.envelope import Envelope, decode_envelope, encode_envelope
from statecore.errors import (
    LocalProtocolError,
    PacketDecodeError,
    ProtocolError,
    RemoteProtocolError,
    StatecoreError,
    TableError,
)
from statecore.events import (
    Closed,
    Event,
    Frame,
    Opened,
    Ponged,
    Principal,
    Request,
    Route,
    TimerFired,
    Upload,
)
from statecore.lifecycle import LIFECYCLE, LINK, Trigger
from statecore.machine import LifecycleMachine
from statecore.packets import PACKETS, PacketType
from statecore.router import RouterCore
from statecore.settings import BackendOptions, ClientOptions, RouterOptions
from statecore.status import LinkState, State, Status
from statecore.table import Lifecycle, Row

__all__ = [
    "LIFECYCLE",
    "LINK",
    "PACKETS",
    "BackendCore",
    "BackendOptions",
    "CancelTimer",
    "ClientCore",
    "ClientOptions",
    "Close",
    "Closed",
    "Count",
    "Effect",
    "Envelope",
    "Event",
    "Frame",
    "Lifecycle",
    "LifecycleMachine",
    "LinkState",
    "LocalProtocolError",
    "Opened",
    "PacketDecodeError",
    "PacketType",
    "Ping",
    "Ponged",
    "Principal",
    "ProtocolError",
    "RemoteProtocolError",
    "Reply",
    "Request",
    "Route",
    "RouterCore",
    "RouterOptions",
    "Row",
    "Save",
    "Send",
    "SetTimer",
    "State",
    "StatecoreError",
    "Status",
    "TableError",
    "TimerFired",
    "Trigger",
    "Upload",
    "decode_envelope",
    "encode_envelope",
]
