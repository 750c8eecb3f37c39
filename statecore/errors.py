"""The exception tree: two classes say whose fault it is, attributes carry every fact."""

from __future__ import annotations

__all__ = [
    "LocalProtocolError",
    "PacketDecodeError",
    "ProtocolError",
    "RemoteProtocolError",
    "StatecoreError",
    "TableError",
]


class StatecoreError(Exception):
    """The root of every exception that this package raises on purpose."""


class TableError(StatecoreError):
    """A lifecycle table is wrong: two rows for one pair, an undecided pair, an unknown state.

    Raised when the table is built, so that no wrong table ever runs.
    """


class ProtocolError(StatecoreError):
    """A packet or call that the protocol does not allow.

    Attributes:
        error_type: a short stable name of the fault, such as ``"illegal-packet"``.
        field: the field at fault, or ``None`` when it is the whole packet.
        expected: what would be right, in words.
    """

    def __init__(
        self, text: str, *, error_type: str, field: str | None = None, expected: str = ""
    ) -> None:
        super().__init__(text if not expected else f"{text}; expected: {expected}")
        self.text = text
        self.error_type = error_type
        self.field = field
        self.expected = expected


class LocalProtocolError(ProtocolError):
    """You called the engine wrongly: fix your code. The core's state is unchanged."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules: it is answered with the reason, and nothing else changes."""


class PacketDecodeError(RemoteProtocolError):
    """A frame or body is not a packet at all: no JSON, no object, a field missing or wrong."""
