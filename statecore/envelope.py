r"""The relay's view of a packet: routing fields decoded, ``data`` left as the bytes that came.

The router relays, it does not read: what the page sent is what the core gets, to the byte. It must
still never forward what would make upstream's core close its connection, so before a packet is
believed it passes one cheap scan (docs/protocol.md, "Bad input"):

1. JSON, an object, with ``packet_type`` and ``subject_id`` as strings. msgspec checks the syntax
   of all of it, ``data`` included, without building it.
2. No integer of more than 4,300 digits and no nesting over 500: Python's ``json`` refuses either.
   Both need many bytes or brackets, so counting those first makes the exact scan rare.
3. A lone surrogate escape (``"\ud83d"``), which browsers can send and Python's ``json`` takes, is
   refused by msgspec. Such escapes are swapped for a character that the text does not contain,
   and swapped back in the bytes of ``data``. In a text that is read here it is refused.
4. Timestamps are floats in seconds or null, whatever came.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from statecore.errors import PacketDecodeError

__all__ = [
    "EMPTY",
    "MAX_DIGITS",
    "MAX_NAME",
    "MAX_NESTING",
    "Envelope",
    "decode_envelope",
    "decode_json",
    "encode_data",
    "encode_envelope",
    "is_object",
    "timestamp",
]

MAX_DIGITS = 4300  # Python's own limit for int(text), which json.loads meets
MAX_NESTING = 500  # json.loads gives up at about 1,000 frames of recursion; half of it is safe

MAX_NAME = 256  # characters of an agent id: upstream's are a few digits

EMPTY = msgspec.Raw(b"{}")

_T = TypeVar("_T")
# A text that never ends matches to the end, and nothing here backtracks: a peer who chooses the text
# must not make the scan slower than its length.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_LONG_DIGITS = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS + 1}}}")
# An integer: digits that no fraction and no exponent follow or precede.
_LONG_INTEGER = re.compile(rf"(?<![0-9.eE+-])-?[0-9]{{{MAX_DIGITS + 1},}}+(?![.eE])")
_LONE_SURROGATE = re.compile(
    r"(?<!\\)((?:\\\\)*+)"  # an even number of backslashes: each pair is one backslash
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair stays
    r"|\\u(?=[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One packet as it travels: six routing fields and ``data`` as JSON bytes.

    Timestamps are seconds since the epoch, or ``None`` where nobody stamped them.
    ``router_outgoing_timestamp`` is stamped when the packet is encoded for the wire.
    """

    packet_type: str
    subject_id: str
    data: msgspec.Raw = EMPTY
    client_timestamp: float | None = None
    router_incoming_timestamp: float | None = None
    router_outgoing_timestamp: float | None = None
    server_timestamp: float | None = None


class _Arrived(msgspec.Struct, gc=False):
    """What is read of a frame: anything may stand where a timestamp should."""

    packet_type: str
    subject_id: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    client_timestamp: msgspec.Raw = msgspec.Raw()
    router_incoming_timestamp: msgspec.Raw = msgspec.Raw()
    server_timestamp: msgspec.Raw = msgspec.Raw()


_arrived = msgspec.json.Decoder(_Arrived)
_encoder = msgspec.json.Encoder()
_number = msgspec.json.Decoder(float)


def decode_envelope(payload: str | bytes, at: float = 0.0, *, limit: int = 1 << 20) -> Envelope:
    """Read one text frame.

    Args:
        payload: the frame's text.
        at: when it arrived, seconds since the epoch; becomes ``router_incoming_timestamp``.
        limit: the most bytes that are read at all.

    Returns:
        The packet; a missing ``data`` is ``{}`` and a missing ``subject_id`` is ``""``, because
        the npm page leaves both out at times (docs/protocol.md, "The page").

    Raises:
        PacketDecodeError: it is no packet; nothing of it may be forwarded.
    """
    if isinstance(payload, bytes):
        raise PacketDecodeError(
            "a binary frame", error_type="binary-frame", expected="a text frame with a JSON object"
        )
    if len(payload) > limit:
        raise PacketDecodeError(
            f"a frame of {len(payload):,} characters",
            error_type="too-large",
            expected=f"at most {limit:,} bytes",
        )
    arrived, restore = _decode(_arrived, payload, limit)
    if restore is not None:
        _refuse_surrogate("packet_type", arrived.packet_type, restore)
        _refuse_surrogate("subject_id", arrived.subject_id or "", restore)
    return Envelope(
        arrived.packet_type,
        arrived.subject_id or "",
        _restored(arrived.data, restore) if len(bytes(arrived.data)) else EMPTY,
        timestamp(arrived.client_timestamp),
        at,
        None,
        timestamp(arrived.server_timestamp),
    )


def decode_json(kind: type[_T], payload: bytes, *, limit: int = 1 << 20) -> _T:
    """Read the JSON body of an HTTP request, under the same scan as a frame.

    Raises:
        PacketDecodeError: with the field at fault.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise PacketDecodeError(
            f"the body is not UTF-8 (byte {error.start})",
            error_type="not-json",
            expected="a JSON object in UTF-8",
        ) from None
    kind_of_value: Any = kind
    decoder: msgspec.json.Decoder[_T] = _decoder(kind_of_value)
    value, stand_in = _decode(decoder, text, limit)
    if stand_in is not None:
        value = _restored_in(value, stand_in)
    return value


def encode_envelope(packet: Envelope) -> bytes:
    """The packet as JSON bytes, all seven keys."""
    return _encoder.encode(packet)


def encode_data(value: object) -> msgspec.Raw:
    """Plain data as the ``data`` of a packet."""
    return msgspec.Raw(_encoder.encode(value))


def is_object(data: msgspec.Raw) -> bool:
    """Whether ``data`` is a JSON object, which upstream's core needs of most packets."""
    return bytes(data)[:1] == b"{"


def timestamp(value: msgspec.Raw) -> float | None:
    """Seconds as a float, from a number or the text of one (multipart forms); else ``None``.

    A text that reached upstream's core in register_agent would stop the unit from ever starting
    (docs/protocol.md, "Timestamps").
    """
    raw = bytes(value)
    try:
        seconds = _number.decode(raw[1:-1] if raw[:1] == b'"' else raw)
    except msgspec.DecodeError:
        return None
    return seconds if math.isfinite(seconds) else None


def _decode(decoder: msgspec.json.Decoder[_T], text: str, limit: int) -> tuple[_T, str | None]:
    """Decode after the scan; also the stand-in for lone surrogates, if one had to be used."""
    try:
        payload = text.encode()
    except UnicodeEncodeError as error:  # a transport that decodes loosely
        raise PacketDecodeError(
            f"not UTF-8 (character {error.start})",
            error_type="not-utf8",
            expected="a JSON object in UTF-8",
        ) from None
    if len(payload) > limit:
        raise PacketDecodeError(
            f"{len(payload):,} bytes", error_type="too-large", expected=f"at most {limit:,} bytes"
        )
    _scan(text)
    try:
        return decoder.decode(payload), None
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from None
    except msgspec.DecodeError as error:
        if _LONE_SURROGATE.search(text):
            return _decode_surrogates(decoder, text)
        raise PacketDecodeError(
            f"not JSON: {error}", error_type="not-json", expected="a JSON object"
        ) from None


def _decode_surrogates(decoder: msgspec.json.Decoder[_T], text: str) -> tuple[_T, str]:
    used = set(text)
    stand_in = next((c for c in map(chr, range(0xE000, 0xF900)) if c not in used), None)
    if stand_in is None:
        raise PacketDecodeError(
            "a lone surrogate among all 6,400 private characters",
            error_type="not-json",
            expected="whole characters",
        )
    swapped = _LONE_SURROGATE.sub(
        lambda found: found[0] if len(found[2]) > 2 else found[1] + stand_in, text
    )
    try:
        return decoder.decode(swapped.encode()), stand_in
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from None
    except msgspec.DecodeError as error:
        raise PacketDecodeError(
            f"not JSON: {error}", error_type="not-json", expected="a JSON object"
        ) from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _restored_in(value: Any, stand_in: str, field: str | None = None) -> Any:
    """The value with the escapes back in its raw parts; texts that we read ourselves have none."""
    if isinstance(value, msgspec.Raw):
        return _restored(value, stand_in)
    if isinstance(value, dict):
        items = cast(dict[str, Any], value)
        for name in items:
            _refuse_surrogate(None, name, stand_in)
        return {name: _restored_in(item, stand_in, name) for name, item in items.items()}
    if isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        return type(value)(**{f: _restored_in(getattr(value, f), stand_in, f) for f in fields})
    if isinstance(value, str):
        _refuse_surrogate(field, value, stand_in)
    return value


def _refuse_surrogate(field: str | None, text: str, stand_in: str) -> None:
    if stand_in in text:
        raise PacketDecodeError(
            f"{field or 'a text'} holds half of a character",
            error_type="wrong-type",
            field=field,
            expected="whole characters",
        )


def _restored(data: msgspec.Raw, stand_in: str | None) -> msgspec.Raw:
    if stand_in is None:
        return data
    return msgspec.Raw(bytes(data).replace(stand_in.encode(), rb"\u"))


def _scan(text: str) -> None:
    """Refuse what Python's ``json`` would refuse and msgspec takes."""
    if text.count("[") + text.count("{") > MAX_NESTING:
        depth = deepest = 0
        for mark in re.findall(r"[\[{\]}]", _STRING.sub("", text)):
            depth += 1 if mark in "[{" else -1
            deepest = max(deepest, depth)
        if deepest > MAX_NESTING:
            raise PacketDecodeError(
                f"nested {deepest} deep",
                error_type="too-deep",
                field="data",
                expected=f"at most {MAX_NESTING} levels",
            )
    if (
        len(text) > MAX_DIGITS
        and _LONG_DIGITS.search(text)
        and _LONG_INTEGER.search(_STRING.sub('""', text))
    ):
        raise PacketDecodeError(
            f"an integer of more than {MAX_DIGITS:,} digits",
            error_type="long-integer",
            field="data",
            expected=f"at most {MAX_DIGITS:,} digits",
        )


def _wrong_field(error: msgspec.ValidationError) -> PacketDecodeError:
    """Msgspec says: Expected `str`, got `int` - at `$.subject_id`."""
    text = str(error)
    missing = re.search(r"missing required field `(\w+)`", text)
    where = re.search(r"at `\$\.?(.*?)`", text)
    field = missing[1] if missing else (where[1] or None if where else None)
    wanted = re.search(r"Expected `(.*?)`", text)
    return PacketDecodeError(
        f"{field} is missing" if missing else f"{field or 'the packet'} has the wrong type",
        error_type="missing-field" if missing else "wrong-type",
        field=field,
        expected=wanted[1] if wanted else "a JSON object with packet_type, subject_id and data",
    )
