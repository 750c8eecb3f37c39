"""What is asked of every packet before it is read: that it may come this way, and its data's form."""

from __future__ import annotations

import msgspec

from statecore.envelope import Envelope, is_object
from statecore.errors import RemoteProtocolError
from statecore.packets import PACKETS, PacketRule, Party

__all__ = ["MAX_REGISTRATION", "Provider", "check_packet", "check_provider"]

# Characters of a registration id (assignment and worker) or a worker's name, kept for each agent.
MAX_REGISTRATION = 1024


class Provider(msgspec.Struct):
    """The names that a registration must hold; upstream's core never answers without these."""

    worker_name: str
    agent_registration_id: str


# What each party may say to a router, and what a router may say to the core.
_SENDS: dict[Party, dict[str, PacketRule]] = {
    party: {kind: rule for kind, rule in PACKETS.items() if party in rule.senders}
    for party in Party
}
_SENDS[Party.ROUTER] = {
    kind: rule for kind, rule in PACKETS.items() if Party.CORE in rule.receivers
}


def check_packet(packet: Envelope, party: Party) -> PacketRule:
    """Check a packet that came from this party, and return its rule.

    Args:
        packet: as it came; also of a type that does not exist.
        party: who sent it: to a router, or as a router to a core (then also what is relayed).

    Raises:
        RemoteProtocolError: it may not come from there, or its data has the wrong form.
    """
    allowed = _SENDS[party]
    rule = allowed.get(packet.packet_type)
    if rule is None:
        raise RemoteProtocolError(
            f"{'a' if party is Party.PAGE else 'the'} {party} may not send "
            f"{packet.packet_type[:64]!r}",
            error_type="not-allowed",
            field="packet_type",
            expected=", ".join(allowed),
        )
    if rule.needs_object and not is_object(packet.data):
        raise RemoteProtocolError(
            f"data of {packet.packet_type} is no object",
            error_type="wrong-type",
            field="data",
            expected="a JSON object",
        )
    return rule


def check_provider(provider: Provider) -> None:
    """Check that the names are neither empty nor endless.

    Raises:
        RemoteProtocolError: one of them is.
    """
    for field in provider.__struct_fields__:
        if not 0 < len(getattr(provider, field)) <= MAX_REGISTRATION:
            name = f"provider_data.{field}"
            raise RemoteProtocolError(
                f"{name} is missing or wrong",
                error_type="bad-field",
                field=name,
                expected=f"a text of 1 to {MAX_REGISTRATION:,} characters",
            )
