"""The HTTP routes over the real core: POSTs, files, downloads, refusals (PROTOCOL 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from asgi_peers import CorePeer, client_of, details, packet, router_app
from fake_clock import FakeClock

from statecore.adapters.asgi import StatecoreApp
from statecore.settings import RouterOptions

pytestmark = pytest.mark.anyio

PROVIDER = {"worker_name": "ann", "agent_registration_id": "ann-1", "provider_type": "mock"}
REGISTRATION = {"provider_data": PROVIDER, "client_timestamp": 1.5}
UNIT = {"USED_AGENT_ID": "a1", "final_data": {"rating": 5}, "client_timestamp": 2.5}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>task</h1>")
    (folder / "assets" / "app.js").write_text("work();")
    (folder / "task_config.json").write_text('{"mephisto_task_version": "2.0.3"}')
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def app(page: Path, tmp_path: Path) -> StatecoreApp:
    return router_app(static=page, uploads=tmp_path / "uploads")


@pytest.mark.parametrize("route", ["/request_agent", "/register_worker"])
async def test_registration_gets_the_cores_whole_answer(app: StatecoreApp, route: str) -> None:
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        core = CorePeer(app.driver)
        answers: list[httpx.Response] = []

        async def register() -> None:
            answers.append(await client.post(route, json=REGISTRATION))

        group.start_soon(register)
        asked = await core.next("register_agent")
        assert asked["data"]["provider_data"] == PROVIDER
        assert asked["data"]["request_id"] == asked["subject_id"]
        assert asked["client_timestamp"] == 1.5
        core.say(details(asked["subject_id"], "a1"))
        with anyio.fail_after(5):
            while not answers:
                await anyio.wait_all_tasks_blocked()
    (answer,) = answers
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert (found["packet_type"], found["data"]["agent_id"]) == ("agent_details", "a1")
    assert found["router_outgoing_timestamp"] == 1_234.5


async def test_registration_while_the_core_is_away_waits_and_then_tells_the_worker(
    app: StatecoreApp,
) -> None:
    # PROTOCOL 2: any other status than 200 leaves the npm page loading for ever.
    clock = FakeClock()
    app.driver._timers._clock = clock
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        answers: list[httpx.Response] = []

        async def register() -> None:
            answers.append(await client.post("/request_agent", json=REGISTRATION))

        group.start_soon(register)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(59.0)
        assert answers == []
        await clock.advance(1.0)
        (answer,) = answers
    assert answer.status_code == 200
    assert answer.json()["data"]["agent_id"] is None
    assert "not reachable" in answer.json()["data"]["failure_reason"]


async def test_request_ids_are_never_used_twice_even_by_another_run() -> None:
    seen: set[str] = set()
    for _ in range(2):
        app = router_app()
        async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
            core = CorePeer(app.driver)
            for worker in ("ann", "bob"):
                provider = PROVIDER | {"agent_registration_id": worker}
                body = {"provider_data": provider}

                async def register(body: object = body) -> None:
                    await client.post("/request_agent", json=body)

                group.start_soon(register)
                request_id = (await core.next("register_agent"))["subject_id"]
                seen.add(request_id)
                core.say(details(request_id, None, "no"))
    assert len(seen) == 4


async def test_submission_is_acknowledged_and_forwarded(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        assert (await client.post("/submit_task", json=UNIT)).status_code == 200
        sent = await core.next("submit_unit")
        assert (sent["subject_id"], sent["data"]) == ("a1", {"rating": 5})


async def test_submission_while_the_core_is_away_is_kept_for_it(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        assert (await client.post("/submit_task", json=UNIT)).status_code == 200
        core = CorePeer(app.driver)
        core.say(
            packet("update_status", "a1", {"status": "in task"})
        )  # so the agent is no invention
        assert (await core.next("submit_unit"))["data"] == {"rating": 5}


async def test_submission_that_cannot_be_kept_is_503_with_retry_after(page: Path) -> None:
    app = router_app(RouterOptions(outbox_bytes=100))
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        core.leave()
        answer = await client.post("/submit_task", json=UNIT)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["error_type"] == "outbox-full"


async def test_metadata_and_errors_are_forwarded(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        core.say(packet("update_status", "a1", {"status": "in task"}))
        tips = {"USED_AGENT_ID": "a1", "metadata": {"tips": {"header": "h", "text": "t"}}}
        assert (await client.post("/submit_metadata", json=tips)).status_code == 200
        assert (await core.next("submit_metadata"))["data"] == {
            "tips": {"header": "h", "text": "t"}
        }
        error = {"USED_AGENT_ID": "a1", "error_data": {"text": "oops"}}
        assert (await client.post("/log_error", json=error)).status_code == 200
        assert (await core.next("log_error"))["data"] == {"text": "oops"}


async def test_onboarding_gets_the_new_agents_details(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client, anyio.create_task_group() as group:
        core = CorePeer(app.driver)
        core.say(packet("update_status", "onboarding_1", {"status": "onboarding"}))
        body = {"provider_data": {"USED_AGENT_ID": "onboarding_1", "onboarding_data": {"a": 1}}}

        async def submit() -> None:
            answer = await client.post("/submit_onboarding", json=body)
            assert answer.json()["data"]["agent_id"] == "a7"

        group.start_soon(submit)
        asked = await core.next("submit_onboarding")
        assert asked["data"]["onboarding_data"] == {"a": 1}
        core.say(details(asked["data"]["request_id"], "a7"))


@pytest.mark.parametrize(
    ("content", "content_type", "status_code", "error_type"),
    [
        (b"{}", "text/plain", 415, "wrong-content-type"),
        (b"{}", "application/x-www-form-urlencoded", 415, "wrong-content-type"),
        (b"{}", "", 415, "wrong-content-type"),
        (b"{", "application/json", 400, "not-json"),
        (b"[]", "application/json; charset=utf-8", 422, "wrong-type"),
        (b"{}", "application/json", 422, "bad-field"),
        (b" " * 5_000, "application/json", 413, "too-large"),
        (b"--x--", "multipart/form-data", 400, "not-a-form"),
        (b"no form", "multipart/form-data; boundary=x", 400, "not-a-form"),
        (b"", "multipart/form-data; boundary=x", 400, "not-a-form"),
    ],
)
async def test_bad_body_is_refused_with_the_reason(
    content: bytes, content_type: str, status_code: int, error_type: str
) -> None:
    app = router_app(RouterOptions(frame_limit=4_000), limits=_limits(body=4_000))
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        headers = {"content-type": content_type} if content_type else {}
        answer = await client.post("/submit_task", content=content, headers=headers)
        assert answer.status_code == status_code, answer.text
        assert sorted(answer.json()) == ["error_type", "expected", "field", "text"]
        assert answer.json()["error_type"] == error_type
        assert core.sent == []


@pytest.mark.parametrize("size", [1_001, 1_500, 5_000])
async def test_body_over_the_limit_is_read_on_a_little_and_refused(size: int) -> None:
    app = router_app(limits=_limits(body=1_000))
    pieces = [
        {"type": "http.request", "body": b" " * 100, "more_body": start + 100 < size}
        for start in range(0, size, 100)
    ]
    sent: list[Any] = []
    left = len(pieces)

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return pieces[-left - 1]

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.running():
        await app(_post_scope("/log_error"), receive, send)
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["expected"] == "at most 1,000 bytes"
    # Twice the limit is all that is read of what is refused.
    assert len(pieces) - left == min(len(pieces), 21)


async def test_packet_that_would_exceed_the_cores_limit_is_413(app: StatecoreApp) -> None:
    # PROTOCOL 3: the core closes its connection above 1 MiB.
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        body = {"USED_AGENT_ID": "a1", "final_data": "x" * (1 << 20)}
        answer = await client.post("/submit_task", json=body)
        assert (answer.status_code, answer.json()["error_type"]) == (413, "too-large")
        assert core.sent == []


async def test_browser_that_goes_away_while_its_post_waits_breaks_nothing(
    app: StatecoreApp,
) -> None:
    async with app.running():
        core = CorePeer(app.driver)
        gone = False
        body = json.dumps(REGISTRATION).encode()
        arriving = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return arriving.pop() if arriving else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal gone
            gone = True  # a server takes what is sent to nobody, and drops it

        async with anyio.create_task_group() as group:
            group.start_soon(app, _post_scope("/request_agent"), receive, send)
            asked = await core.next("register_agent")
            core.say(details(asked["subject_id"], "a1"))
        assert gone
        assert app.driver._waiters == {}


async def test_browser_that_goes_away_within_its_body_is_no_request(app: StatecoreApp) -> None:
    async with app.running():
        core = CorePeer(app.driver)
        arriving = [
            {"type": "http.disconnect"},
            {"type": "http.request", "body": b'{"USED_AGENT_ID"', "more_body": True},
        ]

        async def receive() -> Any:
            return arriving.pop()

        async def send(message: Any) -> None:
            raise AssertionError(f"nobody listens: {message}")

        await app(_post_scope("/submit_task"), receive, send)
        assert core.sent == []


@pytest.mark.parametrize("path", ["/", "/welcome", "/task_index", "/index.html"])
async def test_index_is_served_at_each_of_its_names(app: StatecoreApp, path: str) -> None:
    async with app.running(), client_of(app) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (200, "<h1>task</h1>")
        assert answer.headers["cache-control"] == "no-cache"


async def test_static_files_and_head_requests(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        answer = await client.get("/assets/app.js")
        assert answer.text == "work();"
        assert "javascript" in answer.headers["content-type"]
        head = await client.head("/assets/app.js")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == "7"
        again = await client.get(
            "/", headers={"if-none-match": (await client.get("/")).headers["etag"]}
        )
        assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/assets",
        "/assets/",
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/assets/../../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/a%00b",
        "/" + "x" * 5_000,
        "/download_file/nothing",
        "/download_file/..%2fsecret.txt",
        "/download_file/../secret.txt",
        "/download_file/%2fetc%2fpasswd",
        "/download_file/",
    ],
)
async def test_what_is_not_there_or_outside_is_404(app: StatecoreApp, path: str) -> None:
    async with app.running(), client_of(app) as client:
        # httpx would tidy the path up, as a browser does; a hostile client would not.
        url = httpx.URL("http://router").copy_with(raw_path=path.encode())
        answer = await client.get(url)
        assert (answer.status_code, answer.json()["error_type"]) == (404, "not-found")


async def test_link_that_leads_out_of_the_static_folder_is_404(
    app: StatecoreApp, page: Path
) -> None:
    (page / "link.txt").symlink_to(page.parent / "secret.txt")
    async with app.running(), client_of(app) as client:
        assert (await client.get("/link.txt")).status_code == 404


async def test_router_without_a_page_serves_none() -> None:
    app = router_app()
    async with app.running(), client_of(app) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/task_config.json")).status_code == 404
        assert (await client.get("/is_alive")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/submit_task", "POST"),
        ("PUT", "/request_agent", "POST"),
        ("POST", "/is_alive", "GET, HEAD"),
        ("DELETE", "/task_config.json", "GET, HEAD"),
        ("POST", "/assets/app.js", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_405_with_what_is_allowed(
    app: StatecoreApp, method: str, path: str, allowed: str
) -> None:
    async with app.running(), client_of(app) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["expected"] == allowed


async def test_wrong_method_for_nothing_is_404(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        assert (await client.post("/nothing")).status_code == 404


async def test_is_alive_and_the_time_in_whole_milliseconds(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        assert (await client.get("/is_alive")).json() == {"status": "Alive!"}
        assert (await client.get("/get_timestamp")).text == '{"timestamp":1234500}'


async def test_task_config_is_served_and_a_wrong_version_is_told_to_the_core(
    app: StatecoreApp,
) -> None:
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        answer = await client.get("/task_config.json?mephisto_task_version=2.0.3")
        assert answer.json() == {"mephisto_task_version": "2.0.3"}
        assert core.sent == []
        headers = {"if-none-match": answer.headers["etag"]}
        await client.get("/task_config.json?mephisto_task_version=1.0.0", headers=headers)
        told = await core.next("log_error")
        assert told["data"]["error_type"] == "version-mismatch"
        assert "1.0.0" in told["data"]["text"]
        await client.head("/task_config.json?mephisto_task_version=1.0.0")
        assert core.sent == []


async def test_task_version_of_the_operator_stands_above_the_files(page: Path) -> None:
    app = router_app(static=page, task_version="3.0.0")
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        await client.get("/task_config.json?mephisto_task_version=2.0.3")
        assert "3.0.0" in (await core.next("log_error"))["data"]["text"]


@pytest.mark.parametrize("content", ["not json", "[]", '{"mephisto_task_version": 2}', "{}"])
async def test_task_config_without_a_version_expects_none(
    app: StatecoreApp, page: Path, content: str
) -> None:
    (page / "task_config.json").write_text(content)
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        answer = await client.get("/task_config.json?mephisto_task_version=2.0.3")
        assert (answer.text, core.sent) == (content, [])


def _limits(**limits: int) -> Any:
    from statecore.adapters.asgi_body import BodyLimits

    return BodyLimits(**limits)


def _post_scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
