"""Who is at the other end: address, Origin, forwarding headers, token."""

from __future__ import annotations

import pytest

from statecore.adapters.principal import principal_of
from statecore.events import Principal


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("localhost", False),  # a name is no address: nothing is looked up
    ],
)
def test_principal_is_loopback_only_for_addresses_of_this_machine(
    host: str, loopback: bool
) -> None:
    assert principal_of({"client": (host, 1), "headers": []}) == Principal(loopback=loopback)


def test_principal_without_an_address_is_not_loopback() -> None:
    assert principal_of({"client": None, "headers": []}) == Principal()
    assert principal_of({}) == Principal()


def test_principal_has_the_origin() -> None:
    headers = [(b"Origin", b"https://example.org")]
    assert principal_of({"headers": headers}) == Principal(origin="https://example.org")


@pytest.mark.parametrize(
    "name",
    [
        b"forwarded",
        b"via",
        b"X-Forwarded-For",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
    ],
)
def test_principal_is_forwarded_by_any_header_of_a_proxy(name: bytes) -> None:
    assert principal_of({"headers": [(name, b"1.2.3.4")]}) == Principal(forwarded=True)


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer secret", "secret"),
        (b"bearer  secret ", "secret"),
        (b"Basic dXNlcg==", None),
        (b"Bearer", ""),
        (b"", None),
    ],
)
def test_principal_has_the_bearer_token(value: bytes, token: str | None) -> None:
    found = principal_of({"headers": [(b"host", b"x"), (b"authorization", value)]})
    assert found == Principal(token=token)
