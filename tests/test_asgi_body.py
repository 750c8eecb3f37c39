"""Bodies: JSON as it came, forms, their files, and the names that files get (PROTOCOL 2)."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from asgi_peers import CorePeer, client_of, packet, router_app
from starlette.datastructures import UploadFile

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.asgi_body import BodyLimits, Uploads
from statecore.settings import RouterOptions

pytestmark = pytest.mark.anyio

FIELDS = {"USED_AGENT_ID": "a1", "final_data": '{"rating": 5}', "client_timestamp": "12.5"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def app(folder: Path) -> StatecoreApp:
    return router_app(uploads=folder)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def in_task(app: StatecoreApp) -> CorePeer:
    core = CorePeer(app.driver)
    core.say(packet("update_status", "a1", {"status": "in task"}))
    return core


async def test_form_becomes_the_packet_that_json_would_have_been(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        # A form without files is multipart all the same.
        files = {name: (None, value) for name, value in FIELDS.items()}
        assert (await client.post("/submit_task", files=files)).status_code == 200
        sent = await core.next("submit_unit")
        assert (sent["data"], sent["client_timestamp"]) == ({"rating": 5}, 12.5)


async def test_uploaded_file_can_be_downloaded_at_once_by_the_name_in_the_packet(
    app: StatecoreApp, folder: Path
) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        content = os.urandom(3 << 20)  # larger than what is kept in memory
        files = {"photo": ('my "cat" ü.jpg', content, "image/jpeg")}
        assert (await client.post("/submit_task", data=FIELDS, files=files)).status_code == 200
        sent = await core.next("submit_unit")
        assert sent["data"]["rating"] == 5
        (entry,) = sent["data"]["files"]
        assert sent["data"]["filesByFields"] == {"photo": [entry]}
        filename = entry["filename"]
        assert entry == {
            "fieldname": "photo",
            "originalname": "my %22cat%22 ü.jpg",  # as on the wire
            "encoding": "7bit",
            "mimetype": "image/jpeg",
            "destination": f"{folder}/",
            "filename": filename,
            "path": f"{folder}/{filename}",
            "size": len(content),
        }
        assert filename.endswith("-photo-my_22cat_22_.jpg")
        # Mephisto's LocalArchitect copies the file, its other architects fetch it.
        assert (folder / filename).read_bytes() == content
        answer = await client.get(f"/download_file/{filename}")
        assert answer.content == content
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "attachment" in answer.headers["content-disposition"]
        head = await client.head(f"/download_file/{filename}")
        assert head.headers["content-length"] == str(len(content))
        assert (await client.post(f"/download_file/{filename}")).status_code == 405


async def test_files_of_a_form_that_is_refused_are_deleted(app: StatecoreApp, folder: Path) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        files = [("a", ("a.txt", b"1")), ("b", ("b.txt", b"2"))]
        answer = await client.post("/submit_task", data={"final_data": "{}"}, files=files)
        assert (answer.status_code, answer.json()["field"]) == (422, "USED_AGENT_ID")
        assert names(folder) == []
        assert core.sent == []


async def test_files_of_a_second_submission_that_goes_no_further_are_deleted(
    app: StatecoreApp, folder: Path
) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        for content in (b"first", b"second"):
            files = {"f": ("a.txt", content)}
            answer = await client.post("/submit_task", data=FIELDS, files=files)
            assert answer.status_code == 200
        sent = await core.next("submit_unit")
        assert names(folder) == [sent["data"]["files"][0]["filename"]]
        assert (folder / names(folder)[0]).read_bytes() == b"first"
        assert core.sent == []


async def test_files_of_two_tabs_that_wait_are_kept_only_of_the_first(
    app: StatecoreApp, folder: Path
) -> None:
    async with app.running(), client_of(app) as client:
        core = CorePeer(app.driver)
        codes: list[int] = []

        async def submit() -> None:
            files = {"f": ("a.txt", b"x")}
            answer = await client.post("/submit_task", data=FIELDS, files=files)
            codes.append(answer.status_code)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tabs:
                tabs.start_soon(submit)
                tabs.start_soon(submit)
                while len(app.driver._waiters) < 2:
                    await anyio.lowlevel.checkpoint()
                assert len(names(folder)) == 2
                core.say(packet("update_status", "a1", {"status": "in task"}))
        assert codes == [200, 200]
        sent = await core.next("submit_unit")
        assert names(folder) == [sent["data"]["files"][0]["filename"]]
        assert core.sent == []


@pytest.mark.parametrize(
    "route", ["/request_agent", "/submit_onboarding", "/submit_metadata", "/log_error"]
)
async def test_file_on_a_route_that_takes_none_is_refused_and_not_stored(
    app: StatecoreApp, folder: Path, route: str
) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        fields = {"USED_AGENT_ID": "a1", "metadata": "{}", "error_data": "{}"}
        answer = await client.post(route, data=fields, files={"f": ("a.txt", b"x")})
        assert (answer.status_code, answer.json()["error_type"]) == (415, "unexpected-file")
        assert "/submit_task" in answer.json()["expected"]
        assert names(folder) == []
        assert core.sent == []


async def test_input_without_a_chosen_file_is_no_file(app: StatecoreApp) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        content, headers = _form(
            *((name, None, value.encode()) for name, value in FIELDS.items()), ("photo", "", b"")
        )
        answer = await client.post("/submit_task", content=content, headers=headers)
        assert answer.status_code == 200
        assert (await core.next("submit_unit"))["data"] == {"rating": 5}


@pytest.mark.parametrize("missing", [400, 50, 5])
async def test_form_that_was_cut_off_is_no_submission(
    app: StatecoreApp, folder: Path, missing: int
) -> None:
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        content, headers = _form(
            *((name, None, value.encode()) for name, value in FIELDS.items()),
            ("photo", "a.txt", b"x" * 100),
        )
        answer = await client.post("/submit_task", content=content[:-missing], headers=headers)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "not-a-form")
        assert core.sent == []
        assert names(folder) == []


async def test_form_with_half_a_character_is_no_form(app: StatecoreApp, folder: Path) -> None:
    async with app.running(), client_of(app) as client:
        content, headers = _form(("f", "a.txt", b"x"), ("USED_AGENT_ID", None, b"+2D0-"))
        headers["content-type"] += "; charset=utf-7"
        answer = await client.post("/submit_task", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "not-a-form")
        assert names(folder) == []


@pytest.mark.parametrize(
    ("limits", "status_code"),
    [
        (BodyLimits(form=5_000), 413),
        (BodyLimits(body=500), 413),
        (BodyLimits(files=1), 400),
        (BodyLimits(fields=2), 400),
    ],
)
async def test_form_over_a_limit_is_refused_and_leaves_nothing(
    folder: Path, limits: BodyLimits, status_code: int
) -> None:
    app = router_app(uploads=folder, limits=limits)
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        files = [("a", ("a.txt", b"x" * 6_000)), ("b", ("b.txt", b"2"))]
        data = FIELDS | {"final_data": json.dumps({"text": "y" * 600})}
        answer = await client.post("/submit_task", data=data, files=files)
        assert (answer.status_code, core.sent) == (status_code, [])
        assert names(folder) == []


async def test_files_that_cannot_be_stored_are_503(app: StatecoreApp, folder: Path) -> None:
    os.rmdir(folder)
    os.symlink("/dev/null", folder)  # no folder any more
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        answer = await client.post("/submit_task", data=FIELDS, files={"f": ("a.txt", b"x")})
        assert (answer.status_code, answer.json()["error_type"]) == (503, "upload-failed")
        assert core.sent == []


async def test_file_that_fills_the_disk_is_503_and_leaves_nothing(
    app: StatecoreApp, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def open_on_full_disk(path: Any, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        os.close(descriptor)
        return opened("/dev/full", os.O_WRONLY)

    async with app.running(), client_of(app) as client:
        in_task(app)
        monkeypatch.setattr("statecore.adapters.asgi_body.os.open", open_on_full_disk)
        answer = await client.post("/submit_task", data=FIELDS, files={"f": ("a.txt", b"x")})
        monkeypatch.undo()
        assert (answer.status_code, answer.json()["error_type"]) == (503, "upload-failed")
        assert "No space left" in answer.json()["text"]
        assert names(folder) == []


@pytest.mark.parametrize(
    ("fieldname", "original", "ending"),
    [
        ("photo", "a.jpg", "-photo-a.jpg"),
        ("../x", "../../etc/passwd", "-_x-_.._etc_passwd"),
        ("", "..", "-_-_"),
        ("ключ", ".htaccess", "-_-htaccess"),
        ("f", "x" * 500 + ".tar.gz", f"-f-{'x' * 113}.tar.gz"),
        ("f", "a\x00b\\c", "-f-a_b_c"),
    ],
)
async def test_file_names_are_safe_and_still_say_what_they_are(
    folder: Path, fieldname: str, original: str, ending: str
) -> None:
    uploads = Uploads(folder)
    with BytesIO(b"content") as source:
        file = UploadFile(source, filename=original)
        first = await uploads.store(fieldname, file)
        second = await uploads.store(fieldname, file)
    assert first.filename.endswith(ending)
    assert first.filename != second.filename
    assert uploads.find(first.filename) == folder / first.filename
    assert (folder / first.filename).stat().st_mode & 0o077 == 0


async def test_only_names_that_were_given_here_are_read(folder: Path) -> None:
    uploads = Uploads(folder)
    (folder / "notes.txt").write_text("somebody else's")
    made_up = "0" * 32 + "-f-a.txt"
    assert uploads.find("notes.txt") is None
    assert uploads.find(made_up) is None
    (folder / made_up).symlink_to(folder / "notes.txt")
    assert uploads.find(made_up) is None
    assert uploads.find(made_up + "\n") is None


async def test_uploads_go_where_mephisto_looks_unless_told_otherwise() -> None:
    # PROTOCOL 2: Mephisto's LocalArchitect copies /tmp/<filename>.
    import tempfile

    assert Uploads().folder == Path(tempfile.gettempdir())


async def test_form_larger_than_the_core_takes_is_413_and_leaves_nothing(folder: Path) -> None:
    app = router_app(RouterOptions(core_limit=2_000), uploads=folder)
    async with app.running(), client_of(app) as client:
        core = in_task(app)
        data = FIELDS | {"final_data": json.dumps({"text": "y" * 3_000})}
        answer = await client.post("/submit_task", data=data, files={"f": ("a.txt", b"x")})
        assert (answer.status_code, core.sent) == (413, [])
        assert names(folder) == []


def _form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form as a browser writes it."""
    body = b""
    for name, filename, value in parts:
        more = "" if filename is None else f'; filename="{filename}"'
        body += f'--edge\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        body += value + b"\r\n"
    return body + b"--edge--\r\n", {"content-type": "multipart/form-data; boundary=edge"}
