"""The example's own rules, which are decided before the core sees a registration; and its own page."""

from __future__ import annotations

import html
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import fastapi_router
import httpx
import pytest
from fastapi_router import Rules

from .peers import Core, Router
from .servers import Folders

only_the_example = pytest.mark.parametrize("server", ["fastapi"], indirect=True)
INVITED = "This task is for invited workers only."


def house(**rules: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rules", [Rules(**rules)], ids=[",".join(rules)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hour", "is_open"), [(0, False), (7, False), (8, True), (19, True), (20, False), (23, False)]
)
def test_opening_hours_are_the_hours_between(hour: int, is_open: bool) -> None:
    at = datetime(2024, 2, 29, hour, 59).timestamp()
    objection = Rules(opens=8, closes=20).objection("ada", at)
    assert objection == (None if is_open else "This task is open from 8:00 to 20:00.")


def test_house_without_rules_welcomes_everybody_always() -> None:
    for hour in range(24):
        assert Rules().objection("ada", datetime(2024, 1, 1, hour).timestamp()) is None


@only_the_example
@pytest.mark.anyio
@house(invited=frozenset({"ada"}))
class TestInvitation:
    @pytest.mark.parametrize("path", ["/request_agent", "/register_worker"])
    async def test_stranger_is_told_and_the_core_never_hears_of_it(
        self, router: Router, core: Core, path: str
    ) -> None:
        answer = await router.ask("hit-bob", path, worker_name="bob").details()
        assert answer["agent_id"] is None
        assert answer["failure_reason"] == INVITED
        assert await core.came() == []
        assert await core.poll() == {}
        page = html.unescape((await router.http.get("/agents")).text)
        assert f"('rejected', '{INVITED}'): 1" in page

    async def test_who_is_invited_gets_a_seat(self, router: Router, core: Core) -> None:
        assert (await router.register(core, "1"))["agent_id"] == "1"

    @pytest.mark.parametrize(
        "provider",
        [
            '{"agent_registration_id": "hit", "worker_name": "bob"}',
            '{"agent_registration_id": "hit", "worker_name": "bob", "x": "\\ud83d"}',
            '{"agent_registration_id": "hit", "worker_name": "ada", "worker_name": "bob"}',
            '{"agent_registration_id": "hit", "worker_name": "bob", "x": [%s]}'
            % ("1," * 600_000 + "1"),
            '{"agent_registration_id": "hit", "worker_name": "ada "}',
            '{"agent_registration_id": "hit", "worker_name": "ad\\u0061\\u0000"}',
        ],
        ids=["plain", "half a character", "twice", "large", "space", "null character"],
    )
    async def test_no_spelling_goes_round_the_rule(
        self, router: Router, core: Core, provider: str
    ) -> None:
        response = await router.http.post(
            "/request_agent",
            content=f'{{"provider_data": {{}}, "provider_data": {provider}}}',
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 200
        assert response.json()["data"]["failure_reason"] == INVITED
        assert await core.came() == []

    async def test_form_is_no_way_round_the_rule(self, router: Router, core: Core) -> None:
        provider = '{"agent_registration_id": "hit", "worker_name": "bob"}'
        form = [("provider_data", (None, provider))]
        response = await router.http.post("/request_agent", files=form)
        assert response.status_code == 422
        assert await core.came() == []

    async def test_broken_registration_is_still_the_cores_to_refuse(
        self, router: Router, core: Core
    ) -> None:
        response = await router.post("/request_agent", {"provider_data": {}})
        assert response.status_code == 422
        assert "worker_name" in response.json()["field"]
        assert await core.came() == []


@only_the_example
@pytest.mark.anyio
@house(opens=0, closes=0)
async def test_closed_house_takes_no_registrations_and_all_else(router: Router, core: Core) -> None:
    answer = await router.ask("hit-ada").details()
    assert answer["failure_reason"] == "This task is open from 0:00 to 0:00."
    await core.status("1", "in task")  # who has a seat from before keeps it
    await core.poll()
    response = await router.post("/submit_task", {"USED_AGENT_ID": "1", "final_data": {}})
    assert response.status_code == 200
    assert (await core.receive("submit_unit")).subject_id == "1"


@only_the_example
@pytest.mark.anyio
async def test_page_of_the_operator_lists_the_seats(router: Router, core: Core) -> None:
    page = await router.seated(core, "1")
    await router.register(core, "2")
    response = await router.http.get("/agents")
    assert response.headers["content-type"].startswith("text/html")
    cells = [re.findall("<td>([^<]*)", row) for row in response.text.split("<tr>")[1:]]
    assert [row[:3] for row in cells] == [["1", "in_task", "up"], ["2", "waiting", "absent"]]
    await page.close()


@only_the_example
@pytest.mark.anyio
async def test_page_of_the_operator_runs_nobodys_script(router: Router) -> None:
    page = await router.page()
    await page.alive("<script>alert(1)</script>")
    text = (await router.http.get("/agents")).text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@only_the_example
@pytest.mark.anyio
@pytest.mark.parametrize("header", ["Origin", "X-Forwarded-For"])
async def test_page_of_the_operator_is_for_the_operator(router: Router, header: str) -> None:
    response = await router.http.get("/agents", headers={header: "http://elsewhere.example"})
    assert response.status_code == 403
    assert response.json()["error_type"] == "http-403"


def test_example_runs_as_its_docstring_says(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    program = [sys.executable, fastapi_router.__file__, str(folders.static), "0"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            url = next(
                found[0] for line in running.stderr if (found := re.search(r"http://\S+", line))
            )
            assert httpx.get(f"{url}/is_alive", trust_env=False).status_code == 200
            assert "the page" in httpx.get(url, trust_env=False).text
        finally:
            running.send_signal(signal.SIGTERM)
            rest = running.stderr.read()
    assert "Traceback" not in rest
    assert "Application shutdown complete" in rest
