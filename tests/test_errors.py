"""Errors carry every fact as an attribute, and their text is made of them."""

from __future__ import annotations

import pytest

from statecore.errors import (
    LocalProtocolError,
    PacketDecodeError,
    ProtocolError,
    RemoteProtocolError,
    StatecoreError,
    TableError,
)


def test_the_text_says_what_happened_and_what_would_be_right() -> None:
    error = RemoteProtocolError(
        "submit_unit while waiting", error_type="illegal-in-state", field="data", expected="alive"
    )
    assert str(error) == "submit_unit while waiting; expected: alive"
    assert (error.text, error.error_type, error.field, error.expected) == (
        "submit_unit while waiting",
        "illegal-in-state",
        "data",
        "alive",
    )


def test_without_an_expectation_the_text_stands_alone() -> None:
    error = LocalProtocolError("no such connection", error_type="unknown-connection")
    assert (str(error), error.field, error.expected) == ("no such connection", None, "")


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        (TableError, (StatecoreError, Exception)),
        (ProtocolError, (StatecoreError, Exception)),
        (LocalProtocolError, (ProtocolError, StatecoreError, Exception)),
        (RemoteProtocolError, (ProtocolError, StatecoreError, Exception)),
        (PacketDecodeError, (RemoteProtocolError, ProtocolError, StatecoreError, Exception)),
    ],
)
def test_two_classes_say_whose_fault_it_is(
    kind: type[Exception], parents: tuple[type[Exception], ...]
) -> None:
    assert kind.__mro__[1:-2] == parents
