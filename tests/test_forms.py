from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecore.checks import MAX_REGISTRATION
from statecore.envelope import Envelope, encode_data
from statecore.errors import PacketDecodeError, RemoteProtocolError
from statecore.events import Request, Route, Upload
from statecore.forms import Form, check_error, read_form

LIMIT = 1 << 22
CAT = Upload("photo", 'a "cat".png', "7bit", "image/png", "/tmp/", "c0ffee", "/tmp/c0ffee", 3)
DOG = Upload("photo", "dog.png", "7bit", "image/png", "/tmp/", "decaf", "/tmp/decaf", 4)
NOTE = Upload("note", "n.txt", "7bit", "text/plain", "/tmp/", "beef", "/tmp/beef", 1)
PROVIDER = {"worker_name": "w", "agent_registration_id": "a-w", "assignment_id": "a"}


def read(route: Route, body: Any, **given_: Any) -> Form:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_form(Request("p1", route, raw, 9.0, **given_), LIMIT)


def refused(route: Route, body: Any, **given_: Any) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        read(route, body, **given_)
    return caught.value


def form(key: str, packet_type: str, subject: str, data: Any, stamp: float | None = None) -> Form:
    return Form(Envelope(packet_type, subject, encode_data(data), stamp, 9.0), key)


def same(found: Form, wanted: Form) -> bool:
    """Equal, with the data read: how the page spaced its JSON is the page's."""
    whole = [
        (
            f.key,
            msgspec.structs.replace(f.packet, data=msgspec.Raw()),
            json.loads(bytes(f.packet.data)),
        )
        for f in (found, wanted)
    ]
    return whole[0] == whole[1]


# Registration (docs/protocol.md section 2) ----------------------------------------------------------


def test_registration_becomes_register_agent_with_all_that_the_provider_said() -> None:
    """docs/protocol.md section 1: subject is the request id, data {provider_data, request_id}."""
    found = read(Route.REQUEST_AGENT, {"provider_data": PROVIDER, "client_timestamp": 12.5})
    data = {"provider_data": PROVIDER, "request_id": "p1"}
    assert same(found, form("a-w", "register_agent", "p1", data, 12.5))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "provider_data"),
        ({"provider_data": "x"}, "provider_data"),
        ({"provider_data": {"agent_registration_id": "a"}}, "provider_data.worker_name"),
        ({"provider_data": {"worker_name": "w"}}, "provider_data.agent_registration_id"),
        ({"provider_data": {**PROVIDER, "worker_name": ""}}, "provider_data.worker_name"),
        ({"provider_data": {**PROVIDER, "worker_name": 7}}, "provider_data.worker_name"),
        (
            {"provider_data": {**PROVIDER, "agent_registration_id": "a" * (MAX_REGISTRATION + 1)}},
            "provider_data.agent_registration_id",
        ),
    ],
)
def test_registration_is_refused_when_the_core_would_never_answer_it(body: Any, field: str) -> None:
    """docs/protocol.md section 3: without these it never answers."""
    error = refused(Route.REQUEST_AGENT, body)
    assert error.field == field
    assert error.expected


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [("12.5", 12.5), ("yesterday", None), (None, None), (True, None), ({}, None)],
)
def test_timestamp_is_a_number_or_null_when_it_came_as_anything(
    stamp: Any, seconds: float | None
) -> None:
    """docs/protocol.md section 3: a string makes the core never start the unit."""
    found = read(Route.REQUEST_AGENT, {"provider_data": PROVIDER, "client_timestamp": stamp})
    assert found.packet.client_timestamp == seconds


# Onboarding ----------------------------------------------------------


def test_onboarding_leaves_the_agent_out_of_its_data() -> None:
    """docs/protocol.md section 1: {onboarding_data, request_id, ...} without USED_AGENT_ID."""
    provider_data = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"a": [1]}, "more": None}
    found = read(Route.SUBMIT_ONBOARDING, {"provider_data": provider_data})
    data = {"onboarding_data": {"a": [1]}, "more": None, "request_id": "p1"}
    assert same(found, form("onboarding_1", "submit_onboarding", "onboarding_1", data))


def test_onboarding_has_empty_answers_when_the_page_gave_none() -> None:
    """Upstream's core closes its connection on a submit_onboarding without them."""
    found = read(Route.SUBMIT_ONBOARDING, {"provider_data": {"USED_AGENT_ID": "onboarding_1"}})
    data = {"onboarding_data": {}, "request_id": "p1"}
    assert same(found, form("onboarding_1", "submit_onboarding", "onboarding_1", data))


@pytest.mark.parametrize("used", [None, 7, "", "mephisto", "x" * 257])
def test_onboarding_is_refused_when_it_names_no_agent(used: Any) -> None:
    error = refused(Route.SUBMIT_ONBOARDING, {"provider_data": {"USED_AGENT_ID": used}})
    assert error.field is not None
    assert error.field.endswith("USED_AGENT_ID")


def test_onboarding_is_refused_when_provider_data_is_no_object() -> None:
    assert refused(Route.SUBMIT_ONBOARDING, {"provider_data": [1]}).field == "provider_data"


# Submissions ----------------------------------------------------------


@pytest.mark.parametrize("final", [{"a": 1}, [1], "x", 5, None, {"files": []}, {"files": None}])
def test_submission_carries_the_final_data_as_it_came(final: Any) -> None:
    found = read(Route.SUBMIT_TASK, {"USED_AGENT_ID": "1", "final_data": final})
    assert same(found, form("1", "submit_unit", "1", final))


def test_submission_keeps_every_byte_when_it_is_only_passed_on() -> None:
    body = b'{"USED_AGENT_ID":"1","final_data":{ "a" :"\\ud83d", "b":1e400}}'
    assert bytes(read(Route.SUBMIT_TASK, body).packet.data) == b'{ "a" :"\\ud83d", "b":1e400}'


def test_submission_is_refused_when_it_names_files_that_were_not_uploaded() -> None:
    """docs/protocol.md section 2: the core fetches each file inside its packet handler."""
    body = {"USED_AGENT_ID": "1", "final_data": {"files": [{"filename": "/etc/passwd"}]}}
    assert refused(Route.SUBMIT_TASK, body).field == "final_data.files"
    body = {"USED_AGENT_ID": "1", "final_data": {"files": 5}}
    assert refused(Route.SUBMIT_TASK, body).field == "final_data.files"


@pytest.mark.parametrize("name", ["final_data", "final_string_data"])
def test_form_holds_json_as_text_when_a_page_posts_multipart(name: str) -> None:
    """docs/protocol.md section 2: final_data or final_string_data is JSON text."""
    body = {"USED_AGENT_ID": "1", name: '{"a":1}', "client_timestamp": "12.5"}
    found = read(Route.SUBMIT_TASK, body, form=True)
    assert same(found, form("1", "submit_unit", "1", {"a": 1}, 12.5))


@pytest.mark.parametrize(
    ("text", "error_type"),
    [("{", "not-json"), ("9" * 4_301, "long-integer"), ("[" * 501, "too-deep")],
)
def test_form_is_refused_with_the_field_when_its_text_is_no_json(
    text: str, error_type: str
) -> None:
    error = refused(Route.SUBMIT_TASK, {"USED_AGENT_ID": "1", "final_data": text}, form=True)
    assert error.error_type == error_type
    assert error.field is not None
    assert error.field.startswith("final_data")


def test_form_is_refused_when_a_value_is_no_text() -> None:
    body = {"USED_AGENT_ID": "1", "final_data": {"a": 1}}
    assert refused(Route.SUBMIT_TASK, body, form=True).error_type == "wrong-type"


def test_uploads_are_listed_in_the_final_data_as_upstreams_router_lists_them() -> None:
    """docs/protocol.md section 2: files and filesByFields; the core needs filename."""
    body = {"USED_AGENT_ID": "1", "final_data": '{"a":1,"files":"mine"}'}
    found = read(Route.SUBMIT_TASK, body, form=True, uploads=(CAT, NOTE, DOG))
    cat, note, dog = (msgspec.to_builtins(upload) for upload in (CAT, NOTE, DOG))
    data = {
        "a": 1,
        "files": [cat, note, dog],
        "filesByFields": {"photo": [cat, dog], "note": [note]},
    }
    assert same(found, form("1", "submit_unit", "1", data))
    assert cat["filename"] == "c0ffee"


def test_uploads_are_all_the_data_when_the_form_has_no_other() -> None:
    found = read(Route.SUBMIT_TASK, {"USED_AGENT_ID": "1"}, form=True, uploads=(NOTE,))
    note = msgspec.to_builtins(NOTE)
    data = {"files": [note], "filesByFields": {"note": [note]}}
    assert same(found, form("1", "submit_unit", "1", data))


def test_uploads_are_refused_when_the_data_beside_them_is_no_object() -> None:
    body = {"USED_AGENT_ID": "1", "final_data": "[1]"}
    error = refused(Route.SUBMIT_TASK, body, form=True, uploads=(NOTE,))
    assert error.field == "final_data"


@pytest.mark.parametrize("body", [{"final_data": {}}, {"USED_AGENT_ID": "", "final_data": {}}])
def test_submission_is_refused_when_it_names_no_agent(body: Any) -> None:
    assert refused(Route.SUBMIT_TASK, body).field == "USED_AGENT_ID"


def test_submission_is_refused_when_it_has_no_data() -> None:
    assert refused(Route.SUBMIT_TASK, {"USED_AGENT_ID": "1"}).field == "final_data"


def test_body_is_refused_when_it_is_larger_than_what_is_read() -> None:
    request = Request("p1", Route.SUBMIT_TASK, b"{" + b" " * 50 + b"}")
    with pytest.raises(PacketDecodeError) as caught:
        read_form(request, 50)
    assert caught.value.error_type == "too-large"


# Metadata and errors ----------------------------------------------------------

TIPS = {"tips": {"type": "tips", "header": "h", "text": "t"}}
FEEDBACK = {"feedback": {"data": [{"question": "q", "text": "t"}]}}


@pytest.mark.parametrize("value", [TIPS, FEEDBACK, {**TIPS, **FEEDBACK}, {}, {"other": 1}])
def test_metadata_is_passed_on_when_the_core_can_read_it(value: Any) -> None:
    """docs/protocol.md section 1: {tips: {...}} or {feedback: {...}}."""
    found = read(Route.SUBMIT_METADATA, {"USED_AGENT_ID": "1", "metadata": value})
    assert same(found, form("1", "submit_metadata", "1", value))
    text = {"USED_AGENT_ID": "1", "metadata": json.dumps(value)}
    assert same(read(Route.SUBMIT_METADATA, text, form=True), found)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([1], "metadata"),
        ({"tips": None}, "metadata.tips"),
        ({"tips": {"text": "t"}}, "metadata.header"),
        ({"tips": {"header": "h"}}, "metadata.text"),
        ({"feedback": {"text": "t"}}, "metadata.data"),
        ({"feedback": {"data": ["good"]}}, "metadata.feedback.data[0]"),
        (
            {"feedback": {"data": [{"text": 5, "question": "q"}]}},
            "metadata.feedback.data[0].text",
        ),
    ],
)
def test_metadata_is_refused_when_the_core_would_fail_on_it(value: Any, field: str) -> None:
    """docs/protocol.md section 3: it closes its own connection on what it cannot read."""
    error = refused(Route.SUBMIT_METADATA, {"USED_AGENT_ID": "1", "metadata": value})
    assert error.field == field
    assert str(error).startswith("metadata")


def test_metadata_is_refused_when_it_is_missing() -> None:
    assert refused(Route.SUBMIT_METADATA, {"USED_AGENT_ID": "1"}).field == "metadata"


@pytest.mark.parametrize(("used", "subject"), [("1", "1"), (None, "mephisto"), ("", "mephisto")])
def test_error_is_passed_on_with_or_without_an_agent(used: str | None, subject: str) -> None:
    found = read(Route.LOG_ERROR, {"USED_AGENT_ID": used, "error_data": {"text": "x"}})
    assert same(found, form(subject, "log_error", subject, {"text": "x"}))


def test_error_is_refused_when_it_is_missing() -> None:
    assert refused(Route.LOG_ERROR, {}).field == "error_data"


def core_logs(error: Any) -> None:
    """What upstream's core does with a log_error, in its order."""
    if "error_type" in error and error["error_type"] == "version-mismatch":
        str(error["text"])


TEXTS = st.sampled_from(["error_type", "my error_type", "version-mismatch", "text", "", "x"])
ERRORS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


@given(error=ERRORS)
def test_error_never_makes_the_core_fail_when_it_is_taken(error: Any) -> None:
    try:
        check_error(encode_data(error))
    except RemoteProtocolError:
        return
    core_logs(error)


def test_error_is_always_taken_when_it_is_an_object_or_a_text_without_a_type() -> None:
    for error in ({}, {"text": 1}, {"error_type": "x"}, "", "my error"):
        check_error(encode_data(error))


def test_error_is_read_as_the_core_reads_it_when_its_characters_are_escaped() -> None:
    for raw in (b'"error\\u005ftype"', b'{"error_type":"version\\u002dmismatch"}', b"null"):
        with pytest.raises(RemoteProtocolError):
            check_error(msgspec.Raw(raw))
    check_error(msgspec.Raw(b'{"error_type":"version-mismatch","text":null}'))
    check_error(msgspec.Raw(b'"a plain text"'))


def test_form_is_never_made_of_a_route_that_has_no_packet() -> None:
    with pytest.raises(AssertionError):
        read(Route.TASK_CONFIG, {})
