"""What a core orders: frozen records in one closed union, performed in order by a driver.

A core never acts. It returns a tuple of effects; ``statecore.adapters.driver`` performs them for
real, and a model checker explores every order of their consequences.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from statecore.envelope import Envelope
from statecore.events import TimerKey

__all__ = [
    "CancelTimer",
    "Close",
    "Count",
    "Effect",
    "Ping",
    "Reply",
    "Save",
    "Send",
    "SetTimer",
]


class Send(msgspec.Struct, frozen=True):
    """Send this packet down that connection; the driver stamps ``router_outgoing_timestamp``."""

    connection: str
    packet: Envelope


class Ping(msgspec.Struct, frozen=True):
    """Send a WebSocket ping with this token; its pong comes back as ``Ponged``."""

    connection: str
    token: str


class Reply(msgspec.Struct, frozen=True):
    """Answer this HTTP request; every request gets exactly one.

    Args:
        request_id: the ``id`` of the ``Request``.
        status_code: the HTTP status.
        body: a packet, or a JSON object as bytes.
        retry_after: seconds for the ``Retry-After`` header, or ``None``.
        kept: a packet may name the request's uploads, so they stay; those of a refusal never do.
    """

    request_id: str
    status_code: int
    body: Envelope | bytes
    retry_after: int | None = None
    kept: bool = True


class Close(msgspec.Struct, frozen=True):
    """Close this connection with a WebSocket close code and a reason for people."""

    connection: str
    code: int
    reason: str


class SetTimer(msgspec.Struct, frozen=True):
    """Deliver ``TimerFired(key)`` after so many seconds; a key that is set already starts anew."""

    key: TimerKey
    seconds: float


class CancelTimer(msgspec.Struct, frozen=True):
    """Forget this timer; unknown keys are fine."""

    key: TimerKey


class Save(msgspec.Struct, frozen=True):
    """Write this record down before performing the effects after it.

    The seam for durability: a driver without a store passes it by.
    """

    record: bytes


class Count(msgspec.Struct, frozen=True):
    """Add one to a named counter. Counting is an effect, so a refused input changes no state."""

    name: str
    label: str = ""


Effect: TypeAlias = Send | Ping | Reply | Close | SetTimer | CancelTimer | Save | Count
