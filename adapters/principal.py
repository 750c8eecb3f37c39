"""Who is at the other end of an ASGI scope, as far as the transport can tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from statecore.events import Principal

__all__ = ["principal_of"]

# Headers that only proxies add. Whatever begins with x-forwarded counts too.
_FORWARDING = frozenset(
    {
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"forwarded",
        b"true-client-ip",
        b"via",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"x-real-ip",
    }
)


def principal_of(scope: Mapping[str, Any]) -> Principal:
    """Read the peer's address and headers; what they permit is the core's to decide."""
    headers: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    origin: str | None = None
    token: str | None = None
    forwarded = False
    for name, value in headers:
        name = name.lower()
        if name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"authorization":
            scheme, _, credentials = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                token = credentials.strip()
        elif name in _FORWARDING or name.startswith(b"x-forwarded"):
            forwarded = True
    return Principal(
        loopback=_is_loopback(scope.get("client")),
        origin=origin,
        forwarded=forwarded,
        token=token,
    )


def _is_loopback(client: tuple[str, int] | None) -> bool:
    """Without an address (a Unix socket, with a proxy behind it as a rule) it is not."""
    if client is None:
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
