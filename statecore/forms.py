"""The bodies of the POST routes, checked and turned into packets (docs/protocol.md, "HTTP").

What the page sent as its data stays the bytes that came. A multipart form's values are texts: the
JSON that some of them hold is scanned like any other, and a timestamp among them becomes a number.
"""

from __future__ import annotations

import msgspec

from statecore.envelope import (
    MAX_NAME,
    Envelope,
    decode_json,
    encode_data,
    is_object,
    timestamp,
)
from statecore.errors import RemoteProtocolError
from statecore.events import Request, Route
from statecore.packets import SYSTEM_ID, PacketType

__all__ = ["Form", "read_form"]

_ABSENT = msgspec.Raw()


class Form(msgspec.Struct, frozen=True):
    """A POST that was understood.

    Args:
        packet: what goes to the core.
        key: whose it is: the registration id of a registration, else the agent id.
    """

    packet: Envelope
    key: str


class _Provider(msgspec.Struct):
    worker_name: str
    agent_registration_id: str


class _Body(msgspec.Struct):
    provider_data: msgspec.Raw = _ABSENT
    USED_AGENT_ID: str | None = None
    final_data: msgspec.Raw = _ABSENT
    final_string_data: msgspec.Raw = _ABSENT
    metadata: msgspec.Raw = _ABSENT
    error_data: msgspec.Raw = _ABSENT
    client_timestamp: msgspec.Raw = _ABSENT


def read_form(request: Request, limit: int) -> Form:
    """Read the body of one POST.

    Args:
        request: any route but ``TASK_CONFIG``.
        limit: the most bytes that are read.

    Raises:
        PacketDecodeError: the body is no JSON object, or a field has the wrong type.
        RemoteProtocolError: a field is missing or holds what the core would fail on.
    """
    body = decode_json(_Body, request.body, limit=limit)
    match request.route:
        case Route.REQUEST_AGENT:
            kind, subject, key, data = _registration(request, body)
        case Route.SUBMIT_ONBOARDING:
            kind, subject, key, data = _onboarding(request, body)
        case Route.SUBMIT_TASK:
            subject = key = _agent(body.USED_AGENT_ID)
            kind, data = PacketType.SUBMIT_UNIT, _final_data(request, body, limit)
        case Route.SUBMIT_METADATA:
            subject = key = _agent(body.USED_AGENT_ID)
            kind, data = PacketType.SUBMIT_METADATA, _json(request, body.metadata, limit)
            if not is_object(data):
                raise _missing("metadata", "a JSON object such as {tips} or {feedback}")
        case Route.LOG_ERROR:
            # A page that never got an agent may still have something to say.
            subject = key = _agent(body.USED_AGENT_ID) if body.USED_AGENT_ID else SYSTEM_ID
            kind, data = PacketType.LOG_ERROR, _present("error_data", body.error_data)
        case _:
            raise AssertionError(request.route)
    stamp = timestamp(body.client_timestamp)
    return Form(Envelope(kind, subject, data, stamp, request.at), key)


def _registration(request: Request, body: _Body) -> tuple[PacketType, str, str, msgspec.Raw]:
    provider_data = _present("provider_data", body.provider_data)
    if not is_object(provider_data):
        raise _missing("provider_data", "a JSON object")
    provider = decode_json(_Provider, bytes(provider_data), limit=len(request.body))
    # Without these two upstream's core never answers (docs/protocol.md, "register_agent").
    for field in ("worker_name", "agent_registration_id"):
        if not getattr(provider, field):
            raise _missing(f"provider_data.{field}", "a text that is not empty")
    data = encode_data({"provider_data": provider_data, "request_id": request.id})
    return PacketType.REGISTER_AGENT, request.id, provider.agent_registration_id, data


def _onboarding(request: Request, body: _Body) -> tuple[PacketType, str, str, msgspec.Raw]:
    provider_data = _present("provider_data", body.provider_data)
    fields = _fields("provider_data", provider_data)
    used = fields.pop("USED_AGENT_ID", None)
    try:
        agent_id = _agent(None if used is None else msgspec.json.decode(used, type=str))
    except msgspec.DecodeError:
        raise _missing("provider_data.USED_AGENT_ID", "the agent id as a text") from None
    fields.setdefault("onboarding_data", msgspec.Raw(b"{}"))
    fields["request_id"] = encode_data(request.id)
    return PacketType.SUBMIT_ONBOARDING, agent_id, agent_id, encode_data(fields)


def _final_data(request: Request, body: _Body, limit: int) -> msgspec.Raw:
    given = body.final_string_data if len(bytes(body.final_string_data)) else body.final_data
    if not request.uploads:
        return _json(request, given, limit)
    fields = _fields("final_data", _json(request, given, limit)) if len(bytes(given)) else {}
    fields["files"] = encode_data(request.uploads)
    by_field: dict[str, list[object]] = {}
    for upload in request.uploads:
        by_field.setdefault(upload.fieldname, []).append(upload)
    fields["filesByFields"] = encode_data(by_field)
    return encode_data(fields)


def _json(request: Request, value: msgspec.Raw, limit: int) -> msgspec.Raw:
    """The value, or in a form the JSON that its text holds."""
    _present("final_data or metadata", value)
    if not request.form:
        return value
    text = decode_json(str, bytes(value), limit=limit)
    return decode_json(msgspec.Raw, text.encode("utf-8", "surrogatepass"), limit=limit)


def _fields(name: str, value: msgspec.Raw) -> dict[str, msgspec.Raw]:
    if not is_object(value):
        raise _missing(name, "a JSON object")
    return decode_json(dict[str, msgspec.Raw], bytes(value), limit=len(bytes(value)))


def _agent(agent_id: str | None) -> str:
    if not agent_id or len(agent_id) > MAX_NAME or agent_id == SYSTEM_ID:
        raise _missing("USED_AGENT_ID", "the agent id that /request_agent answered, as a text")
    return agent_id


def _present(name: str, value: msgspec.Raw) -> msgspec.Raw:
    if not len(bytes(value)):
        raise _missing(name, "this field")
    return value


def _missing(field: str, expected: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"{field} is missing or wrong", error_type="bad-field", field=field, expected=expected
    )
