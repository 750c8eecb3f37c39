"""What bad POSTs get: a status code and a JSON body that says which field and why; and 503 or 200 with
a reason when the core cannot take more.

Nothing of a refused POST reaches the core, and no agent is changed by it.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .peers import Core, Later, Router
from .servers import with_options

pytestmark = pytest.mark.anyio

ROUTES = (
    "/request_agent",
    "/register_worker",
    "/submit_onboarding",
    "/submit_task",
    "/submit_metadata",
    "/log_error",
)
PROVIDER = {"worker_name": "ada", "agent_registration_id": "hit-ada"}
JSON = {"Content-Type": "application/json"}


def reason_of(response: httpx.Response) -> dict[str, Any]:
    """The body of a refusal, in the shape that all have."""
    assert response.headers["content-type"].startswith("application/json")
    told = response.json()
    assert set(told) == {"error_type", "text", "field", "expected"}
    assert told["text"]
    assert told["expected"]
    return dict(told)


async def nothing_happened(router: Router, core: Core) -> None:
    assert await core.came() == []
    assert await core.poll() == {"1": "in task"}
    assert list(router.folders.uploads.iterdir()) == []


BROKEN = {
    "nothing": b"",
    "words": b"hello",
    "half": b'{"USED_AGENT_ID": "1", "final_data": {',
    "not UTF-8": b'{"USED_AGENT_ID": "1", "final_data": {"t": "\xff"}}',
    "NaN": b'{"USED_AGENT_ID": "1", "client_timestamp": NaN}',
    "two": b"{}{}",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_body_gets_400(router: Router, core: Core, name: str) -> None:
    """Bad input, a POST with a broken body."""
    await router.seated(core, "1")
    for route in ROUTES:
        response = await router.http.post(route, content=BROKEN[name], headers=JSON)
        assert response.status_code == 400, (route, response.text)
        reason_of(response)
    await nothing_happened(router, core)


@pytest.mark.parametrize("body", [b"[]", b"3", b'"text"', b"null"], ids=bytes.decode)
async def test_body_that_is_no_object_gets_422(router: Router, core: Core, body: bytes) -> None:
    """Bad input, a POST with JSON that is no object."""
    await router.seated(core, "1")
    for route in ROUTES:
        response = await router.http.post(route, content=body, headers=JSON)
        assert response.status_code == 422, (route, response.text)
        assert "object" in reason_of(response)["text"] + reason_of(response)["expected"]
    await nothing_happened(router, core)


# (route, body, field): a field that is missing or wrong, and its name in the answer.
FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("/request_agent", {}, "provider_data"),
    ("/request_agent", {"provider_data": None}, "provider_data"),
    ("/request_agent", {"provider_data": "ada"}, "provider_data"),
    ("/request_agent", {"provider_data": {}}, "worker_name"),
    ("/request_agent", {"provider_data": PROVIDER | {"worker_name": 3}}, "worker_name"),
    ("/request_agent", {"provider_data": PROVIDER | {"worker_name": ""}}, "worker_name"),
    (
        "/request_agent",
        {"provider_data": PROVIDER | {"agent_registration_id": None}},
        "agent_registration_id",
    ),
    ("/submit_onboarding", {}, "provider_data"),
    ("/submit_onboarding", {"provider_data": []}, "provider_data"),
    ("/submit_onboarding", {"provider_data": {"onboarding_data": {}}}, "USED_AGENT_ID"),
    ("/submit_onboarding", {"provider_data": {"USED_AGENT_ID": 1}}, "USED_AGENT_ID"),
    ("/submit_task", {"final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": None, "final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": 1, "final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": "", "final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": "mephisto", "final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": "x" * 10_000, "final_data": {}}, "USED_AGENT_ID"),
    ("/submit_task", {"USED_AGENT_ID": "1"}, "final_data"),
    ("/submit_metadata", {"metadata": {}}, "USED_AGENT_ID"),
    ("/submit_metadata", {"USED_AGENT_ID": "1"}, "metadata"),
    ("/submit_metadata", {"USED_AGENT_ID": "1", "metadata": "tip"}, "metadata"),
    ("/log_error", {"USED_AGENT_ID": "1"}, "error_data"),
    ("/log_error", {"USED_AGENT_ID": 1, "error_data": {}}, "USED_AGENT_ID"),
]


@pytest.mark.parametrize(("route", "body", "field"), FIELDS, ids=range(len(FIELDS)))
async def test_field_that_is_missing_or_wrong_gets_422(
    router: Router, core: Core, route: str, body: dict[str, Any], field: str
) -> None:
    """Bad input, a POST with a missing field: the answer names it."""
    await router.seated(core, "1")
    response = await router.post(route, body)
    assert response.status_code == 422, response.text
    assert field in reason_of(response)["field"]
    await nothing_happened(router, core)


@pytest.mark.parametrize("data", ["1" * 4_301, "[" * 600 + "]" * 600], ids=["integer", "nesting"])
@pytest.mark.parametrize("as_form", [False, True], ids=["json", "form"])
async def test_data_that_the_core_would_choke_on_gets_422(
    router: Router, core: Core, data: str, as_form: bool
) -> None:
    """Section 3: Python's json refuses it, and the core would close its connection."""
    await router.seated(core, "1")
    if as_form:
        form = [("USED_AGENT_ID", (None, "1")), ("final_data", (None, f'{{"a": {data}}}'))]
        response = await router.http.post("/submit_task", files=form)
    else:
        content = f'{{"USED_AGENT_ID": "1", "final_data": {{"a": {data}}}}}'
        response = await router.http.post("/submit_task", content=content, headers=JSON)
    assert response.status_code == 422, response.text
    reason_of(response)
    await nothing_happened(router, core)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "multipart/mixed"],
)
async def test_wrong_content_type_gets_415(router: Router, core: Core, content_type: str) -> None:
    """Bad input, a POST with a wrong content type (and a form that any site's page could post)."""
    await router.seated(core, "1")
    body, headers = b'{"USED_AGENT_ID": "1", "final_data": {}}', {"Content-Type": content_type}
    for route in ROUTES:
        response = await router.http.post(route, content=body, headers=headers)
        assert response.status_code == 415, (route, response.text)
        assert "application/json" in reason_of(response)["expected"]
    await nothing_happened(router, core)


@pytest.mark.parametrize("size", [(1 << 20) + 1, 5 << 20], ids=["core's limit", "frame limit"])
@pytest.mark.parametrize("route", ["/submit_task", "/submit_metadata", "/log_error"])
async def test_body_over_the_limit_gets_413(
    router: Router, core: Core, route: str, size: int
) -> None:
    """Bad input, a body over the limit; section 3: refused before it is acknowledged."""
    await router.seated(core, "1")
    data = {"text": "x" * size}
    body = {"USED_AGENT_ID": "1", "final_data": data, "metadata": data, "error_data": data}
    response = await router.post(route, body)
    assert response.status_code == 413
    assert "at most" in reason_of(response)["expected"]
    await nothing_happened(router, core)


async def test_registration_over_the_limit_gets_413(router: Router, core: Core) -> None:
    """Bad input, a body over the limit: a registration, too, would cost the core its connection."""
    await router.seated(core, "1")
    provider = PROVIDER | {"more": "x" * (1 << 20)}
    response = await router.post("/request_agent", {"provider_data": provider})
    assert response.status_code == 413
    await nothing_happened(router, core)


BOUNDARY = "--b\r\nContent-Disposition: form-data; name="
FORMS = {
    "empty": "",
    "no parts": "hello",
    "cut off": f'{BOUNDARY}"USED_AGENT_ID"\r\n\r\n1\r\n{BOUNDARY}"final_data"\r\n\r\n{{}}\r\n',
    "cut off in a file": f'{BOUNDARY}"f"; filename="a"\r\n\r\nconte',
    "bad JSON": f'{BOUNDARY}"USED_AGENT_ID"\r\n\r\n1\r\n{BOUNDARY}"final_data"\r\n\r\n{{\r\n--b--\r\n',
}


@pytest.mark.parametrize("name", FORMS)
async def test_broken_form_gets_400(router: Router, core: Core, name: str) -> None:
    """Bad input, a multipart form that is none or was cut off: no submission, and no files kept."""
    await router.seated(core, "1")
    response = await router.http.post(
        "/submit_task",
        content=FORMS[name].encode(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert response.status_code == 400, response.text
    reason_of(response)
    await nothing_happened(router, core)


async def test_form_without_a_boundary_gets_400(router: Router, core: Core) -> None:
    """Bad input, a multipart form whose parts nobody can tell apart."""
    await router.seated(core, "1")
    headers = {"Content-Type": "multipart/form-data"}
    response = await router.http.post("/submit_task", content=b"--b--\r\n", headers=headers)
    assert response.status_code == 400, response.text
    await nothing_happened(router, core)


async def test_page_that_leaves_while_it_posts_harms_nobody(router: Router, core: Core) -> None:
    """Bad input, half a request."""
    await router.seated(core, "1")
    for route in ROUTES:
        head = f"POST {route} HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\n"
        await router.vanish(f'{head}Content-Length: 1000\r\n\r\n{{"USED_AGENT_ID": "1"'.encode())
    await nothing_happened(router, core)


async def test_page_that_leaves_while_it_waits_harms_nobody(router: Router, core: Core) -> None:
    """The answer to a registration goes nowhere when its page has gone; a reload gets it again."""
    body = json.dumps({"provider_data": PROVIDER}).encode()
    head = "POST /request_agent HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\n"
    await router.vanish(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    asked = await core.receive("register_agent")
    again = router.ask("hit-ada")
    assert await core.came() == []
    assert await core.came() == []
    await core.answer(asked, "1")
    assert (await again.details())["agent_id"] == "1"


# Bounds ------------------------------------------------------------------------------------------


@with_options(outbox_bytes=4_000)
async def test_work_gets_503_when_too_much_waits_for_the_core(router: Router, core: Core) -> None:
    """Bad input, other POSTs while the core is away: held within the bound, else 503 with
    Retry-After; what got its 2xx arrives, what got 503 does not, and then there is room again."""
    await router.seated(core, "1")
    await core.close()
    statuses = []
    for number in range(20):
        body = {"USED_AGENT_ID": "1", "metadata": {"n": number, "t": "x" * 200}}
        response = await router.post("/submit_metadata", body)
        statuses.append(response.status_code)
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) > 0
            reason_of(response)
    taken = statuses.count(200)
    assert 0 < taken < 20
    assert statuses == [200] * taken + [503] * (20 - taken)
    core = await router.core()
    got = [(await core.receive("submit_metadata")).data["n"] for _ in range(taken)]
    assert got == list(range(taken))
    await core.status("1", "completed")
    await core.poll()
    body = {"USED_AGENT_ID": "1", "metadata": {"n": 20}}
    assert (await router.post("/submit_metadata", body)).status_code == 200
    assert (await core.receive("submit_metadata")).data == {"n": 20}


@with_options(outbox_bytes=4_000)
async def test_live_update_is_refused_when_too_much_waits_for_the_core(
    router: Router, core: Core
) -> None:
    """Bad input, the same bound for a live update, whose page is told."""
    page = await router.seated(core, "1")
    await core.close()
    for number in range(20):
        await page.say({"update_id": number, "t": "x" * 200})
    refused = [packet.data["error_type"] for packet in await page.came()]
    assert 0 < len(refused) < 20
    assert set(refused) == {"outbox-full"}
    core = await router.core()
    taken = 20 - len(refused)
    got = [(await core.packet()).data["update_id"] for _ in range(taken)]
    assert got == list(range(taken))
    for _ in range(2):  # a poll asks for a pong, which comes before the next poll: there is room
        await core.poll()
    assert await core.came() == []


@with_options(pending_requests=3)
async def test_registration_that_is_one_too_many_is_told_so(router: Router, core: Core) -> None:
    """S8: pending requests are bounded; an error status would leave the page loading for ever."""
    asking: list[Later] = [router.ask(f"hit-{number}") for number in range(3)]
    asked = [await core.receive("register_agent") for _ in range(3)]
    busy = await router.ask("hit-3").details()
    assert busy["agent_id"] is None
    assert "Too many" in busy["failure_reason"]
    for number, packet in enumerate(asked):
        await core.answer(packet, str(number))
    answers = [await post.details() for post in asking]
    assert {answer["agent_id"] for answer in answers} == {"0", "1", "2"}
    await router.register(core, "3", "hit-3")


@with_options(held_updates=3)
async def test_update_that_is_one_too_many_in_the_waiting_room_is_refused(
    router: Router, core: Core
) -> None:
    """S8: what is held for a task that has not started is bounded, and the rest is told so."""
    page = await router.seated(core, "1", "waiting")
    for number in range(5):
        await page.say({"update_id": number})
    refused = [packet.data["error_type"] for packet in await page.came()]
    assert refused == ["too-early", "too-early"]
    await core.status("1", "in task")
    got = [(await core.receive("mephisto_bound_live_update")).data for _ in range(3)]
    assert got == [{"update_id": number} for number in range(3)]
    assert await core.came() == []
