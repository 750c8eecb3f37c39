"""The relay's view of a packet: what passes, what is refused, and that data stays the bytes."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statecore.envelope import (
    EMPTY,
    MAX_DIGITS,
    MAX_NESTING,
    Envelope,
    decode_envelope,
    decode_json,
    encode_data,
    encode_envelope,
    is_object,
    timestamp,
)
from statecore.errors import PacketDecodeError


def frame(data: str = "{}", packet_type: str = '"alive"', subject: str = '"1"') -> str:
    return f'{{"packet_type":{packet_type},"subject_id":{subject},"data":{data}}}'


def refusal(payload: str | bytes, **limits: int) -> tuple[str, str | None, str]:
    with pytest.raises(PacketDecodeError) as caught:
        decode_envelope(payload, **limits)
    error = caught.value
    assert str(error) == f"{error.text}; expected: {error.expected}"
    return error.error_type, error.field, error.expected


# What is read ------------------------------------------------------------------------------------


def test_a_packet_is_read_with_its_times() -> None:
    payload = (
        '{"packet_type": "heartbeat", "subject_id": "7", "data": {"a": [1, 2.50]},'
        ' "client_timestamp": 1.5, "router_incoming_timestamp": 9, "router_outgoing_timestamp": 9,'
        ' "server_timestamp": null}'
    )
    assert decode_envelope(payload, 3.0) == Envelope(
        "heartbeat", "7", msgspec.Raw(b'{"a": [1, 2.50]}'), 1.5, 3.0, None, None
    )


def test_a_missing_subject_and_missing_data_are_read_as_empty() -> None:
    assert decode_envelope('{"packet_type":"alive"}') == Envelope(
        "alive", "", EMPTY, None, 0.0, None, None
    )
    assert decode_envelope('{"packet_type":"alive","subject_id":null}').subject_id == ""


def test_all_seven_keys_are_written() -> None:
    packet = Envelope("update_status", "1", encode_data({"status": "waiting"}), 1.0, 2.0, 3.0, 4.0)
    assert json.loads(encode_envelope(packet)) == {
        "packet_type": "update_status",
        "subject_id": "1",
        "data": {"status": "waiting"},
        "client_timestamp": 1.0,
        "router_incoming_timestamp": 2.0,
        "router_outgoing_timestamp": 3.0,
        "server_timestamp": 4.0,
    }


@pytest.mark.parametrize(
    ("data", "expected"), [("{}", True), ("null", False), ("[]", False), ('"{"', False)]
)
def test_is_object_tells_objects_from_the_rest(data: str, expected: bool) -> None:
    assert is_object(decode_envelope(frame("  " + data)).data) is expected


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("", ("not-json", None, "a JSON object")),
        ("hello", ("not-json", None, "a JSON object")),
        ('{"packet_type":"alive"', ("not-json", None, "a JSON object")),
        ("[]", ("wrong-type", None, "object")),
        ("null", ("wrong-type", None, "object")),
        (frame(packet_type="1"), ("wrong-type", "packet_type", "str")),
        (frame(subject="1"), ("wrong-type", "subject_id", "str | null")),
        (
            '{"subject_id":"1"}',
            (
                "missing-field",
                "packet_type",
                "a JSON object with packet_type, subject_id and data",
            ),
        ),
        (frame("NaN"), ("not-json", None, "a JSON object")),
        (frame("[01]"), ("not-json", None, "a JSON object")),
        (frame(r'"\x"'), ("not-json", None, "a JSON object")),
        (frame('"\n"'), ("not-json", None, "a JSON object")),
        ("\ufeff" + frame(), ("not-json", None, "a JSON object")),
        (b"{}", ("binary-frame", None, "a text frame with a JSON object")),
        (frame('"\ud83d"'), ("not-utf8", None, "a JSON object in UTF-8")),
        (frame('"\ud83d\\ud83d"'), ("not-utf8", None, "a JSON object in UTF-8")),
    ],
)
def test_what_is_no_packet_is_refused_with_the_field(
    payload: str | bytes, expected: tuple[str, str | None, str]
) -> None:
    assert refusal(payload) == expected


def test_the_limit_counts_bytes_not_characters() -> None:
    text = frame('"' + "\u00e9" * 50 + '"')
    size = len(text.encode())
    assert decode_envelope(text, limit=size).packet_type == "alive"
    assert refusal(text, limit=size - 1) == ("too-large", None, f"at most {size - 1:,} bytes")
    assert refusal(text, limit=10) == ("too-large", None, "at most 10 bytes")


def test_nesting_is_counted_outside_of_texts_only() -> None:
    deepest = MAX_NESTING - 1  # the packet itself is one level
    at_limit = "[" * deepest + "]" * deepest
    assert bytes(decode_envelope(frame(at_limit)).data) == at_limit.encode()
    assert refusal(frame(f"[{at_limit}]")) == ("too-deep", "data", "at most 500 levels")
    in_text = json.dumps("[" * 600 + '\\"' + "{" * 600)
    assert bytes(decode_envelope(frame(in_text)).data) == in_text.encode()
    flat = "[" + ",".join(["[]"] * 600) + "]"
    assert bytes(decode_envelope(frame(flat)).data) == flat.encode()


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_may_have_as_many_digits_as_python_takes(sign: str) -> None:
    longest = sign + "1" * MAX_DIGITS
    assert json.loads(longest) == int(longest)
    assert bytes(decode_envelope(frame(longest)).data) == longest.encode()
    assert refusal(frame(longest + "1")) == ("long-integer", "data", "at most 4,300 digits")


@pytest.mark.parametrize(
    "number",
    ["{}.5", "0.{}", "1e{}", "1e-{}", "1E+{}", "{}e1", '"{}"', '["a\\"{}"]', "-{}.0"],
)
def test_long_digits_that_are_no_integer_pass(number: str) -> None:
    data = number.format("1" * (MAX_DIGITS + 1))
    json.loads(data)
    assert bytes(decode_envelope(frame(data)).data) == data.encode()


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ("[" * 501 + '"' + '\\"' * 500_000, "too-deep"),
        ("[" * 501 + '"' + "\\" * 999_999, "too-deep"),
        (frame('"' + ("1" * MAX_DIGITS + "x") * 230 + '"'), "taken"),
        (frame("[" + ("1" * 5_000 + ".5,") * 190 + "1]"), "taken"),
        (frame('"' + "\\\\" * 499_000 + '\\ud83d"'), "taken"),
        (frame('"' + "".join(map(chr, range(0xE000, 0xF8FF))) * 50 + '\\ud83d"'), "taken"),
    ],
    ids=["open text", "backslashes", "digits", "fractions", "even backslashes", "private"],
)
def test_no_frame_makes_the_scan_slower_than_its_length(payload: str, answer: str) -> None:
    """There used to be patterns that tried every start of a text that never ended."""
    assert 900_000 < len(payload.encode()) <= 1 << 20
    began = time.process_time()
    try:
        decode_envelope(payload)
        found = "taken"
    except PacketDecodeError as error:
        found = error.error_type
    assert found == answer
    assert time.process_time() - began < 2.0  # it was minutes


# Lone surrogates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        r'"\ud83d"',
        r'{"\udfff": "\uD83D\uDE00 \ud83d\ud83d\ude00 \\ud83d \\\ud83d"}',
        '["\ue000\\ud83d"]',  # the text already holds the character that would stand in
        r'"\ude00\ud83d"',
    ],
)
def test_a_lone_surrogate_escape_passes_unchanged(data: str) -> None:
    json.loads(data)
    packet = decode_envelope(frame(data))
    assert bytes(packet.data) == data.encode()
    assert encode_envelope(packet).count(data.encode()) == 1


def test_a_lone_surrogate_in_a_text_that_is_read_is_refused() -> None:
    assert refusal(frame(subject=r'"\ud83d"')) == ("wrong-type", "subject_id", "whole characters")
    assert refusal(frame(packet_type=r'"\ud83d"')) == (
        "wrong-type",
        "packet_type",
        "whole characters",
    )
    # A whole character is one, whatever stands elsewhere.
    assert decode_envelope(frame(r'"\ud83d"', subject=r'"\ud83d\ude00"')).subject_id == "\U0001f600"


def test_a_fault_beside_a_lone_surrogate_is_still_found() -> None:
    assert refusal(frame(r'"\ud83d", "subject_id": 1')) == (
        "wrong-type",
        "subject_id",
        "str | null",
    )
    assert refusal(frame(r'"\ud83d" nonsense')) == ("not-json", None, "a JSON object")


def test_a_lone_surrogate_among_all_private_characters_is_refused() -> None:
    every = "".join(map(chr, range(0xE000, 0xF900)))
    assert refusal(frame(f'"{every}\\ud83d"')) == ("not-json", None, "whole characters")
    assert decode_envelope(frame(f'"{every}"')).packet_type == "alive"


# HTTP bodies -------------------------------------------------------------------------------------


class _Inner(msgspec.Struct, frozen=True):
    name: str = ""
    kept: msgspec.Raw = EMPTY


class _Body(msgspec.Struct):
    number: int
    inner: _Inner = _Inner()
    free: dict[str, msgspec.Raw] = {}


def test_a_body_keeps_its_raw_parts() -> None:
    assert decode_json(_Body, b'{"number": 2, "free": {"a": [ 1 ]}}') == _Body(
        2, free={"a": msgspec.Raw(b"[ 1 ]")}
    )
    body = rb'{"number": 1, "inner": {"kept": ["\ud800"]}, "free": {"a": "\udfff", "b": 2}}'
    assert decode_json(_Body, body) == _Body(
        1,
        _Inner("", msgspec.Raw(rb'["\ud800"]')),
        {"a": msgspec.Raw(rb'"\udfff"'), "b": msgspec.Raw(b"2")},
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff", ("not-json", None, "a JSON object in UTF-8")),
        (b"{}", ("missing-field", "number", "a JSON object with packet_type, subject_id and data")),
        (b'{"number": "1"}', ("wrong-type", "number", "int")),
        (b'{"number": 1, "inner": {"name": 2}}', ("wrong-type", "inner.name", "str")),
        (
            rb'{"number": 1, "inner": {"name": "\ud800"}}',
            ("wrong-type", "name", "whole characters"),
        ),
        (rb'{"number": 1, "free": {"\ud800": 1}}', ("wrong-type", None, "whole characters")),
        (b'{"number": 1, "free": ' + b"[" * 501, ("too-deep", "data", "at most 500 levels")),
    ],
)
def test_a_wrong_body_is_refused_with_the_field(
    body: bytes, expected: tuple[str, str | None, str]
) -> None:
    with pytest.raises(PacketDecodeError) as caught:
        decode_json(_Body, body)
    error = caught.value
    assert (error.error_type, error.field, error.expected) == expected


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(PacketDecodeError, match=r"11 bytes; expected: at most 5 bytes"):
        decode_json(_Body, b'{"number":1', limit=5)


# Timestamps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("1.5", 1.5),
        ("1700000000", 1_700_000_000.0),
        ("-1", -1.0),
        ('"1700000000.25"', 1_700_000_000.25),
        ('"soon"', None),
        ('""', None),
        ("null", None),
        ("true", None),
        ("{}", None),
        ("[1]", None),
        ("1e999", None),
        ("-1e999", None),
        ('"NaN"', None),
        ('"Infinity"', None),
        ("1" + "0" * 400, None),
        ("", None),
    ],
)
def test_a_timestamp_is_seconds_or_none(raw: str, seconds: float | None) -> None:
    assert timestamp(msgspec.Raw(raw.encode())) == seconds


def test_a_timestamp_is_never_forwarded_as_a_text() -> None:
    payload = '{"packet_type":"alive","client_timestamp":"2.5","server_timestamp":"then"}'
    packet = decode_envelope(payload, 1.0)
    assert (packet.client_timestamp, packet.server_timestamp) == (2.5, None)
    assert b'"2.5"' not in encode_envelope(packet)


# Against Python's own reader ---------------------------------------------------------------------

_escapes = st.sampled_from(
    [r"\ud83d", r"\udc00", r"\uD83D\uDE00", r"\\", r"\"", r"\\ud83d", r"\u0000", "\ue000", "\u20ac"]
)
_texts = st.lists(
    st.one_of(_escapes, st.text("abc [{]}0123456789.,:", max_size=5)), max_size=6
).map(lambda parts: f'"{"".join(parts)}"')
_numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
_space = st.sampled_from(["", " ", "\n", "\t", "  \r\n"])


def _objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(_texts, _space, inner).map(lambda p: f"{p[0]}{p[1]}:{p[1]}{p[2]}")
    return st.lists(pair, max_size=3).map(lambda pairs: "{" + ",".join(pairs) + "}")


_values: st.SearchStrategy[str] = st.recursive(
    st.one_of(_texts, _numbers, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(
        _objects(inner), st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    ),
    max_leaves=8,
)
# Slips of the kind that strangers make: the reader must refuse whatever Python refuses.
_slips = st.sampled_from(
    ["", "", "", ",", "]", "}", '"', "\\", "\x00", "\x1f", "0", "-", "NaN", "'"]
)


@given(data=_values, slip=_slips, at=st.integers(0, 200), subject=_texts)
@example(data='"\\ud83d"', slip="", at=0, subject='"1"')
@example(data="[" * 400 + "]" * 400, slip="", at=0, subject='"1"')
def test_what_is_accepted_python_accepts_and_data_is_the_bytes_that_came(
    data: str, slip: str, at: int, subject: str
) -> None:
    given_data = data[:at] + slip + data[at:]
    payload = frame(given_data, subject=subject)
    try:
        packet = decode_envelope(payload)
    except PacketDecodeError:
        return
    read: dict[str, Any] = json.loads(payload)
    assert packet.subject_id == read["subject_id"]
    if read.keys() == {"packet_type", "subject_id", "data"} and slip == "":
        assert bytes(packet.data) == data.encode()
    forwarded = json.loads(encode_envelope(packet))
    assert _same(forwarded["data"], read["data"])
    assert forwarded["subject_id"] == read["subject_id"]


@given(data=_values)
def test_what_python_writes_is_accepted(data: str) -> None:
    written = json.dumps(json.loads(data), allow_nan=True)
    if "Infinity" in written or "NaN" in written:  # no JSON, and browsers cannot send it
        return
    assert bytes(decode_envelope(frame(written)).data) == written.encode()


def _same(one: object, other: object) -> bool:
    """Equal as JSON; an infinity (1e999) is one however it was read."""
    if isinstance(one, float) and isinstance(other, float) and math.isinf(one):
        return one == other
    return one == other
