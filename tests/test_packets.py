"""The packet table, and that the typed view of a packet equals the relay's view."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from statecore.envelope import Envelope, decode_envelope, encode_data, encode_envelope
from statecore.packet_models import packet_adapter
from statecore.packets import PACKETS, PacketType, Party
from statecore.status import Status

PAGE, ROUTER, CORE = Party.PAGE, Party.ROUTER, Party.CORE

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_object = st.dictionaries(_texts, _json, max_size=3)
_null_or = st.none() | _texts


def _with(required: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with these fields and whatever else somebody may add."""
    return st.tuples(_object, st.fixed_dictionaries(required)).map(lambda two: two[0] | two[1])


_name = _texts.filter(bool)
DATA: dict[PacketType, st.SearchStrategy[Any]] = {
    PacketType.ALIVE: st.none() | _object,
    PacketType.REGISTER_AGENT: _with(
        {
            "provider_data": _with({"worker_name": _name, "agent_registration_id": _name}),
            "request_id": _texts,
        }
    ),
    PacketType.AGENT_DETAILS: _with(
        {
            "request_id": _texts,
            "worker_id": _null_or,
            "agent_id": _null_or,
            "init_task_data": _json,
            "failure_reason": _null_or,
            "status": _null_or,
        }
    ),
    PacketType.SUBMIT_ONBOARDING: _with({"onboarding_data": _json, "request_id": _texts}),
    PacketType.SUBMIT_UNIT: _json,
    PacketType.SUBMIT_METADATA: _object,
    PacketType.MEPHISTO_BOUND_LIVE_UPDATE: _object,
    PacketType.CLIENT_BOUND_LIVE_UPDATE: _object,
    PacketType.UPDATE_STATUS: _with({"status": st.sampled_from([str(s) for s in Status])}),
    PacketType.REQUEST_STATUSES: st.none() | _object,
    PacketType.RETURN_STATUSES: st.dictionaries(_texts, _texts, max_size=3),
    PacketType.LOG_ERROR: _json,
    PacketType.HEARTBEAT: _json,
}


# The table ---------------------------------------------------------------------------------------


def test_every_packet_type_has_its_rule() -> None:
    assert [str(kind) for kind in PACKETS] == [
        "alive",
        "register_agent",
        "agent_details",
        "submit_onboarding",
        "submit_unit",
        "submit_metadata",
        "mephisto_bound_live_update",
        "client_bound_live_update",
        "update_status",
        "request_statuses",
        "return_statuses",
        "log_error",
        "heartbeat",
    ]
    assert list(PACKETS) == list(PacketType) == [rule.packet_type for rule in PACKETS.values()]


def test_who_may_send_what_to_whom() -> None:
    """S7: only these four come from a page; what only the router sends is refused on any socket."""
    senders = {party: {str(k) for k, r in PACKETS.items() if party in r.senders} for party in Party}
    assert senders == {
        PAGE: {"alive", "mephisto_bound_live_update", "log_error", "heartbeat"},
        CORE: {
            "alive",
            "agent_details",
            "client_bound_live_update",
            "update_status",
            "request_statuses",
        },
        ROUTER: {
            "register_agent",
            "submit_onboarding",
            "submit_unit",
            "submit_metadata",
            "return_statuses",
            "log_error",
            "heartbeat",
        },
    }
    receivers = {p: {str(k) for k, r in PACKETS.items() if p in r.receivers} for p in Party}
    assert receivers[PAGE] == {
        "client_bound_live_update",
        "update_status",
        "log_error",
        "heartbeat",
    }


def test_what_must_be_an_object() -> None:
    assert {str(kind) for kind, rule in PACKETS.items() if not rule.needs_object} == {
        "alive",
        "submit_unit",
        "request_statuses",
        "log_error",
        "heartbeat",
    }


# The two views -----------------------------------------------------------------------------------


def test_the_strategies_cover_every_type() -> None:
    assert list(DATA) == list(PacketType)


@pytest.mark.parametrize("kind", PacketType)
@settings(max_examples=30)
@given(data=st.data())
def test_the_typed_view_equals_the_relays_view(kind: PacketType, data: st.DataObject) -> None:
    packet = Envelope(
        kind,
        data.draw(_texts),
        encode_data(data.draw(DATA[kind])),
        data.draw(st.none() | st.floats(0, 1e10)),
        3.0,
        None,
        data.draw(st.none() | st.floats(0, 1e10)),
    )
    wire = encode_envelope(packet)
    typed = packet_adapter.validate_json(wire)
    assert typed.packet_type == kind
    # Back from the typed view: the same packet, key by key.
    written = packet_adapter.dump_python(typed, mode="json", exclude_unset=True)
    assert written == json.loads(wire)
    # And back into the relay's view.
    again = decode_envelope(packet_adapter.dump_json(typed).decode(), 3.0)
    assert msgspec.json.decode(again.data) == msgspec.json.decode(packet.data)
    assert (again.packet_type, again.subject_id) == (packet.packet_type, packet.subject_id)
    assert again.client_timestamp == packet.client_timestamp
    assert again.server_timestamp == packet.server_timestamp


# What the typed view refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "field"),
    [
        ({"packet_type": "hello", "subject_id": "1"}, "packet_type"),
        (
            {"packet_type": "register_agent", "subject_id": "1", "data": {"request_id": "r"}},
            "provider_data",
        ),
        (
            {
                "packet_type": "register_agent",
                "subject_id": "1",
                "data": {"provider_data": {"worker_name": "w"}, "request_id": "r"},
            },
            "agent_registration_id",
        ),
        (
            {
                "packet_type": "register_agent",
                "subject_id": "1",
                "data": {
                    "provider_data": {"worker_name": "", "agent_registration_id": "a"},
                    "request_id": "r",
                },
            },
            "worker_name",
        ),
        (
            {
                "packet_type": "agent_details",
                "subject_id": "1",
                "data": {"request_id": "r", "agent_id": 7},
            },
            "agent_id",
        ),
        (
            {"packet_type": "update_status", "subject_id": "1", "data": {"status": "busy"}},
            "status",
        ),
        ({"packet_type": "update_status", "data": {"status": "none"}}, "subject_id"),
        (
            {"packet_type": "mephisto_bound_live_update", "subject_id": "1", "data": "text"},
            "data",
        ),
        ({"packet_type": "heartbeat", "subject_id": "1", "client_timestamp": "soon"}, "client"),
    ],
)
def test_a_packet_that_is_wrong_names_its_field(packet: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field) as caught:
        packet_adapter.validate_python(packet)
    assert caught.value.error_count() == 1


def test_a_typed_packet_is_never_changed() -> None:
    packet = packet_adapter.validate_python({"packet_type": "alive", "subject_id": "1"})
    with pytest.raises(ValidationError, match="frozen"):
        packet.subject_id = "2"
