"""What can happen to a core: frozen records in one closed union.

A transport turns each thing that happens into one event and calls ``core.receive(event)``. ``at``
is the wall clock in seconds since the epoch, stamped by the adapter: a core writes it into the
packets' timestamps and never compares it, so no decision depends on a clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

__all__ = [
    "Closed",
    "Event",
    "Frame",
    "Opened",
    "Ponged",
    "Principal",
    "Request",
    "Route",
    "TimerFired",
    "TimerKey",
    "Upload",
]

# What a timer is for, and whose it is: ("grace", agent id), ("request", request id), ("sweep", "").
TimerKey: TypeAlias = tuple[str, str]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is at the other end of a connection, as far as the transport can tell.

    Args:
        loopback: the peer's address is this machine's own.
        origin: the ``Origin`` header, which browsers always send and cores never do.
        forwarded: a forwarding header is present, so the address is a proxy's.
        token: the bearer token of the ``Authorization`` header, if any.
    """

    loopback: bool = False
    origin: str | None = None
    forwarded: bool = False
    token: str | None = None


class Opened(msgspec.Struct, frozen=True):
    """A connection was accepted.

    Args:
        connection: a name that the adapter chose and will not use again.
        principal: who is at the other end.
        pings: the transport performs ``Ping`` and reports ``Ponged``. Without it, what was handed
            to the transport counts as delivered (docs/design.md, "Delivery").
    """

    connection: str
    principal: Principal = Principal()
    at: float = 0.0
    pings: bool = False


class Frame(msgspec.Struct, frozen=True):
    """A whole WebSocket message arrived: ``str`` for a text frame, ``bytes`` for a binary one."""

    connection: str
    payload: str | bytes
    at: float = 0.0


class Closed(msgspec.Struct, frozen=True):
    """A connection is gone, by whichever side and for whatever reason.

    Args:
        code: the WebSocket close code that came; 1006, as in RFC 6455, when none did. Only a page
            reads it: it must know whether to come back.
    """

    connection: str
    code: int = 1006


class Ponged(msgspec.Struct, frozen=True):
    """The peer answered the ping with this token: it has read all that was sent before it."""

    connection: str
    token: str


class Route(StrEnum):
    """The POST routes that become packets (docs/protocol.md, "HTTP")."""

    REQUEST_AGENT = "/request_agent"
    SUBMIT_ONBOARDING = "/submit_onboarding"
    SUBMIT_TASK = "/submit_task"
    SUBMIT_METADATA = "/submit_metadata"
    LOG_ERROR = "/log_error"
    # GET, with the versions that were asked for and are served: a mismatch is reported to the core.
    TASK_CONFIG = "/task_config.json"


class Upload(msgspec.Struct, frozen=True):
    """One file of a multipart form, already stored by the adapter; names as on the wire."""

    fieldname: str
    originalname: str
    encoding: str
    mimetype: str
    destination: str
    filename: str
    path: str
    size: int


class Request(msgspec.Struct, frozen=True):
    """An HTTP request arrived whole.

    Args:
        id: a name that the adapter chose and will not use again; on the wire it is the request id.
        body: a JSON object as bytes. A multipart form comes as the object of its text fields.
        form: the body was a form, so its values are texts, some of which hold JSON.
        uploads: the form's files.
    """

    id: str
    route: Route
    body: bytes
    at: float = 0.0
    form: bool = False
    uploads: tuple[Upload, ...] = ()


class TimerFired(msgspec.Struct, frozen=True):
    """A timer that the core set has run out."""

    key: TimerKey


Event: TypeAlias = Opened | Frame | Closed | Ponged | Request | TimerFired
