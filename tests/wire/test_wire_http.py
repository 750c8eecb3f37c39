"""PROTOCOL.md section 2: the HTTP routes, and where a WebSocket may be opened."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest

from .peers import Core, Packet, Router, details
from .servers import TASK_VERSION, with_options

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/request_agent", "/register_worker"])
async def test_registration_is_answered_with_the_whole_packet(
    router: Router, core: Core, path: str
) -> None:
    """Section 2, POST /request_agent, which the API's text calls /register_worker."""
    asking = router.ask("hit-ada", path)
    asked = await core.receive("register_agent")
    await core.answer(asked, "1", init_task_data={"text": "größer"})
    response = await asking.response()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    packet = Packet.read(response.text)
    assert packet.packet_type == "agent_details"
    expected = details(asked.subject_id, "1") | {"init_task_data": {"text": "größer"}}
    assert packet.data == expected


async def test_onboarding_is_answered_with_the_new_agent(router: Router, core: Core) -> None:
    """Section 2, POST /submit_onboarding: the whole packet, with a new agent id."""
    await router.register(core, "onboarding_1")
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {}}
    asking = router.start_post(
        "/submit_onboarding", {"provider_data": provider, "client_timestamp": 3.5}
    )
    asked = await core.receive("submit_onboarding")
    assert asked.times["client_timestamp"] == 3.5
    await core.answer(asked, "1", init_task_data={"text": "a"})
    expected = details(asked.data["request_id"], "1") | {"init_task_data": {"text": "a"}}
    assert await asking.details() == expected


async def test_onboarding_that_failed_is_answered_with_the_refusal(
    router: Router, core: Core
) -> None:
    """Section 2, POST /submit_onboarding: or a refusal, which the page shows."""
    await router.register(core, "onboarding_1")
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {}}
    asking = router.start_post("/submit_onboarding", {"provider_data": provider})
    await core.answer(await core.receive("submit_onboarding"), None, failure_reason="not today")
    answer = await asking.details()
    assert (answer["agent_id"], answer["failure_reason"]) == (None, "not today")


@with_options(request_wait=0.2)
async def test_registration_without_a_core_is_answered_with_the_truth(router: Router) -> None:
    """Section 2: any non-2xx leaves the npm page loading for ever, and agent_id must be a string or
    null: 200, null ids, and a failure_reason for the worker."""
    answer = await router.ask("hit-ada").details()
    assert answer["agent_id"] is None
    assert answer["worker_id"] is None
    assert "not reachable" in answer["failure_reason"]
    assert set(answer) == set(details("", None))


@with_options(request_wait=0.2)
async def test_registration_with_a_silent_core_is_answered_with_the_truth(
    router: Router, core: Core
) -> None:
    """Section 2: the same when the core is there and says nothing."""
    asking = router.ask("hit-ada")
    await core.receive("register_agent")
    answer = await asking.details()
    assert answer["agent_id"] is None
    assert "did not answer" in answer["failure_reason"]


@with_options(request_wait=0.2)
async def test_onboarding_without_a_core_is_answered_with_the_truth(router: Router) -> None:
    """Section 2, POST /submit_onboarding: the page waits for its answer, too."""
    provider = {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"answer": 1}}
    asking = router.start_post("/submit_onboarding", {"provider_data": provider})
    answer = await asking.details()
    assert answer["agent_id"] is None
    assert answer["failure_reason"]


async def test_submission_is_answered_2xx_at_once(router: Router, core: Core) -> None:
    """Section 2, POST /submit_task: any 2xx hands the page over; it does not wait for the core."""
    await router.register(core, "1")
    response = await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {"a": 1}})
    assert response.status_code == 200
    assert isinstance(response.json(), dict)


@pytest.mark.parametrize("name", ["final_data", "final_string_data"])
async def test_multipart_submission_holds_json_texts(router: Router, core: Core, name: str) -> None:
    """Section 2, POST /submit_task multipart: the data is JSON text, the timestamp a string."""
    await router.register(core, "1")
    texts = {"USED_AGENT_ID": "1", name: '{"a": [1, "ü"]}', "client_timestamp": "1700000000.25"}
    response = await router.http.post(
        "/submit_task", files=[(k, (None, v)) for k, v in texts.items()]
    )
    assert response.status_code == 200
    submitted = await core.receive("submit_unit")
    assert (submitted.subject_id, submitted.data) == ("1", {"a": [1, "ü"]})
    assert submitted.times["client_timestamp"] == 1700000000.25


async def test_multipart_metadata_holds_json_text(router: Router, core: Core) -> None:
    """Section 2, POST /submit_metadata multipart: `metadata` is JSON text."""
    await router.register(core, "1")
    texts = {"USED_AGENT_ID": "1", "metadata": '{"tips": {"header": "h", "text": "t"}}'}
    response = await router.http.post(
        "/submit_metadata", files=[(k, (None, v)) for k, v in texts.items()]
    )
    assert response.status_code == 200
    expected = ("submit_metadata", "1", {"tips": {"header": "h", "text": "t"}})
    assert (await core.receive("submit_metadata")).brief == expected


@pytest.mark.parametrize(
    ("given", "forwarded"),
    [
        ("12.5", 12.5),
        (12.5, 12.5),
        (12, 12.0),
        ("soon", None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
async def test_timestamp_is_forwarded_as_seconds_or_null(
    router: Router, core: Core, given: object, forwarded: float | None
) -> None:
    """Sections 2 and 3: a string in register_agent would keep the unit from ever starting."""
    provider = {"worker_name": "ada", "agent_registration_id": "hit-ada"}
    asking = router.start_post(
        "/request_agent", {"provider_data": provider, "client_timestamp": given}
    )
    asked = await core.receive("register_agent")
    assert asked.times["client_timestamp"] == forwarded
    await core.answer(asked, "1")
    await asking.response()
    page = await router.page()
    await page.alive("1")
    await core.status("1", "in task")
    await page.receive("update_status")
    await page.send("mephisto_bound_live_update", "1", {"update_id": "u"}, client_timestamp=given)
    update = await core.receive("mephisto_bound_live_update")
    assert update.times["client_timestamp"] == forwarded


async def test_missing_timestamp_is_forwarded_as_null(router: Router, core: Core) -> None:
    """Section 2: client_timestamp is often absent."""
    await router.register(core, "1")
    await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {}})
    assert (await core.receive("submit_unit")).times["client_timestamp"] is None


async def test_task_config_is_the_file(router: Router, core: Core) -> None:
    """Section 2, GET /task_config.json: the static file; nothing to report on the right version."""
    response = await router.http.get(
        "/task_config.json", params={"mephisto_task_version": TASK_VERSION}
    )
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    assert response.content == (router.folders.static / "task_config.json").read_bytes()
    assert await core.came() == []


async def test_task_config_of_another_version_is_reported(router: Router, core: Core) -> None:
    """Section 2, GET /task_config.json: the file all the same, and a log_error to the core."""
    response = await router.http.get("/task_config.json?mephisto_task_version=1.0.0")
    assert response.status_code == 200
    assert response.json()["task_title"] == "größer"
    report = await core.receive("log_error")
    assert report.subject_id == "mephisto"
    assert set(report.data) == {"error_type", "text"}
    assert report.data["error_type"] == "version-mismatch"
    assert "1.0.0" in report.data["text"]
    assert TASK_VERSION in report.data["text"]


async def test_task_config_needs_no_core(router: Router) -> None:
    """Section 2: the page loads its configuration before any handshake."""
    response = await router.http.get("/task_config.json?mephisto_task_version=1.0.0")
    assert response.status_code == 200


async def test_is_alive_says_so(router: Router) -> None:
    """Section 2, GET /is_alive."""
    response = await router.http.get("/is_alive")
    assert response.status_code == 200
    assert set(response.json()) == {"status"}


async def test_get_timestamp_is_in_milliseconds(router: Router) -> None:
    """Section 2, GET /get_timestamp: node's integer milliseconds."""
    before = int(time.time() * 1000)
    timestamp = (await router.http.get("/get_timestamp")).json()["timestamp"]
    assert type(timestamp) is int
    assert before <= timestamp <= time.time() * 1000


@pytest.mark.parametrize("path", ["/", "/welcome", "/task_index", "/?assignmentId=3&workerId=x"])
async def test_index_is_served_under_its_names(router: Router, path: str) -> None:
    """Section 2, GET /, /welcome, /task_index."""
    response = await router.http.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "the page" in response.text


async def test_static_files_are_served(router: Router) -> None:
    """Section 2: static files, by absolute paths at the origin's root."""
    response = await router.http.get("/bundle.js")
    assert response.text == "export const answer = 42;\n"
    assert "javascript" in response.headers["content-type"]
    response = await router.http.get("/images/a%20b.svg")
    assert response.text == "<svg/>"
    assert response.headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize("path", ["/", "/socket", "/?worker=ada"])
async def test_websocket_opens_at_the_root_and_at_socket(router: Router, path: str) -> None:
    """Section 2, WebSocket at / (upstream's mock also /socket)."""
    core = await router.core(path=path)
    await router.register(core, "1")
    page = await router.page(path)
    assert (await page.alive("1")).data == {"status": "none"}


async def test_websocket_takes_an_offer_of_deflate(router: Router) -> None:
    """Section 2: the page's offer includes permessage-deflate; taking it is the router's choice."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    wire = await router.wire(headers=offer)
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in wire.head


async def test_body_may_come_in_pieces(router: Router, core: Core) -> None:
    """Section 2: a body of unknown length is a body."""
    await router.register(core, "1")
    body = json.dumps({"USED_AGENT_ID": "1", "final_data": {"a": 1}}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for index in range(0, len(body), 7):
            yield body[index : index + 7]

    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = await router.http.post("/submit_task", content=pieces(), headers=headers)
    assert response.status_code == 200
    assert (await core.receive("submit_unit")).data == {"a": 1}
