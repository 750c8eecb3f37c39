"""The bodies of the POST routes, checked and turned into packets (docs/protocol.md, "HTTP").

1. What the page sent as its data stays the bytes that came.
2. A multipart form's values are texts: the JSON that some of them hold is scanned like any other, and
   a timestamp among them becomes a number.
3. A packet on which upstream's core fails is lost, so what it needs of each body is asked for here:
   the names of a worker, the texts of tips and feedback, files that were uploaded.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from statecore.checks import Provider, check_provider
from statecore.envelope import (
    MAX_NAME,
    Envelope,
    decode_json,
    encode_data,
    is_object,
    timestamp,
)
from statecore.errors import PacketDecodeError, RemoteProtocolError
from statecore.events import Request, Route
from statecore.packets import SYSTEM_ID, PacketType

__all__ = ["Form", "check_error", "read_form"]

_ABSENT = msgspec.Raw()
_T = TypeVar("_T")


class Form(msgspec.Struct, frozen=True):
    """A POST that was understood.

    Args:
        packet: what goes to the core.
        key: whose it is: the registration id of a registration, else the agent id.
    """

    packet: Envelope
    key: str


class _Tip(msgspec.Struct):
    header: str
    text: str


class _Question(msgspec.Struct):
    question: str
    text: str


class _Feedback(msgspec.Struct):
    data: list[_Question]


class _Metadata(msgspec.Struct):
    tips: _Tip | msgspec.UnsetType = msgspec.UNSET
    feedback: _Feedback | msgspec.UnsetType = msgspec.UNSET


class _Submission(msgspec.Struct):
    files: list[msgspec.Raw] | None = None


class _Error(msgspec.Struct):
    error_type: Any = None
    text: msgspec.Raw = _ABSENT


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
            kind, data = PacketType.SUBMIT_METADATA, _metadata(request, body, limit)
        case Route.LOG_ERROR:
            # A page that never got an agent may still have something to say.
            subject = key = _agent(body.USED_AGENT_ID) if body.USED_AGENT_ID else SYSTEM_ID
            kind, data = PacketType.LOG_ERROR, _present("error_data", body.error_data)
            check_error(data)
        case _:
            raise AssertionError(request.route)
    stamp = timestamp(body.client_timestamp)
    return Form(Envelope(kind, subject, data, stamp, request.at), key)


def _registration(request: Request, body: _Body) -> tuple[PacketType, str, str, msgspec.Raw]:
    provider_data = _present("provider_data", body.provider_data)
    if not is_object(provider_data):
        raise _missing("provider_data", "a JSON object")
    provider = _inside("provider_data", Provider, provider_data)
    check_provider(provider)
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
    is_text = len(bytes(body.final_string_data)) > 0
    name = "final_string_data" if is_text else "final_data"
    given = body.final_string_data if is_text else body.final_data
    if not request.uploads:
        data = _json(name, request, given, limit)
        if is_object(data) and _inside(name, _Submission, data).files:
            # The core fetches each of them by its name, and fails on what was never uploaded.
            raise _missing(f"{name}.files", "no such field: files come as parts of a form")
        return data
    fields = _fields(name, _json(name, request, given, limit)) if len(bytes(given)) else {}
    fields["files"] = encode_data(request.uploads)
    by_field: dict[str, list[object]] = {}
    for upload in request.uploads:
        by_field.setdefault(upload.fieldname, []).append(upload)
    fields["filesByFields"] = encode_data(by_field)
    return encode_data(fields)


def _metadata(request: Request, body: _Body, limit: int) -> msgspec.Raw:
    data = _json("metadata", request, body.metadata, limit)
    if not is_object(data):
        raise _missing("metadata", "a JSON object such as {tips} or {feedback}")
    _inside("metadata", _Metadata, data)
    return data


def check_error(data: msgspec.Raw) -> None:
    """What upstream's core needs of a log_error (docs/protocol.md, "The core").

    It looks for an ``error_type`` in whatever comes, and for the text of a version mismatch.

    Raises:
        RemoteProtocolError: the core would fail on it.
    """
    raw = bytes(data)
    if raw[:1] == b'"':
        if "error_type" not in decode_json(str, raw, limit=len(raw)):
            return
    elif is_object(data):
        error = decode_json(_Error, raw, limit=len(raw))
        if error.error_type != "version-mismatch" or len(bytes(error.text)):
            return
    raise RemoteProtocolError(
        "a log_error that the core cannot read",
        error_type="wrong-type",
        field="data",
        expected="a JSON object such as {error_type, text}, or a plain text",
    )


def _json(name: str, request: Request, value: msgspec.Raw, limit: int) -> msgspec.Raw:
    """The value, or in a form the JSON that its text holds."""
    _present(name, value)
    if not request.form:
        return value
    text = decode_json(str, bytes(value), limit=limit)
    try:
        return decode_json(msgspec.Raw, text.encode("utf-8", "surrogatepass"), limit=limit)
    except PacketDecodeError as error:
        raise _at(name, error) from None


def _inside(name: str, kind: type[_T], data: msgspec.Raw) -> _T:
    """What we must know of a part of the body."""
    try:
        return decode_json(kind, bytes(data), limit=len(bytes(data)))
    except PacketDecodeError as error:
        raise _at(name, error) from None


def _at(name: str, error: PacketDecodeError) -> PacketDecodeError:
    """The same error, with the whole way to the field."""
    return PacketDecodeError(
        f"{name}: {error.text}",
        error_type=error.error_type,
        field=f"{name}.{error.field}" if error.field else name,
        expected=error.expected,
    )


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
