"""PROTOCOL.md section 2: uploaded files, and that nothing outside the two folders is readable."""

from __future__ import annotations

import json
import os
from typing import Any

import anyio
import pytest

from .peers import Core, Router

pytestmark = pytest.mark.anyio

ENTRY = {
    "fieldname",
    "originalname",
    "encoding",
    "mimetype",
    "destination",
    "filename",
    "path",
    "size",
}


async def upload(router: Router, core: Core, *files: tuple[str, str, bytes, str]) -> Any:
    """Submit files as (field, name, content, type); returns the data that the core gets."""
    parts: list[tuple[str, Any]] = [
        ("USED_AGENT_ID", (None, "1")),
        ("final_data", (None, '{"text": "see the files"}')),
    ]
    parts += [(field, (name, content, kind)) for field, name, content, kind in files]
    response = await router.http.post("/submit_task", files=parts)
    assert response.status_code == 200, response.text
    packet = await core.receive("submit_unit")
    assert packet.subject_id == "1"
    return packet.data


async def test_uploads_are_described_as_node_does(router: Router, core: Core) -> None:
    """Section 2, "Upload entries": their keys; beside them the page's own data and filesByFields."""
    await router.register(core, "1")
    data = await upload(
        router,
        core,
        ("photo", "a.png", b"\x89PNG\r\n", "image/png"),
        ("photo", "b.png", b"", "image/png"),
        ("note", "c.txt", b"text", "text/plain"),
    )
    assert data["text"] == "see the files"
    first, second, third = data["files"]
    assert data["filesByFields"] == {"photo": [first, second], "note": [third]}
    for entry in data["files"]:
        assert set(entry) == ENTRY
        assert entry["path"] == os.path.join(entry["destination"], entry["filename"])
    assert first["fieldname"] == "photo"
    assert first["originalname"] == "a.png"
    assert first["mimetype"] == "image/png"
    assert [entry["size"] for entry in data["files"]] == [6, 0, 4]
    assert len({entry["filename"] for entry in data["files"]}) == 3


async def test_upload_is_there_when_the_core_hears_of_it(router: Router, core: Core) -> None:
    """Section 2: the core fetches /download_file/<filename> inside its packet handler; Mephisto's
    LocalArchitect copies the file from its folder instead."""
    await router.register(core, "1")
    content = bytes(range(256)) * 4_000  # a megabyte: more than a packet to the core may have
    data = await upload(router, core, ("file", "all bytes.bin", content, "application/x-any"))
    [entry] = data["files"]
    response = await router.http.get(f"/download_file/{entry['filename']}")
    assert response.status_code == 200
    assert response.content == content
    assert await anyio.Path(entry["path"]).read_bytes() == content


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ("größer 日本.txt", "größer 日本.txt"),
        ("a%22b.txt", "a%22b.txt"),
        ("../../secret.txt", "../../secret.txt"),
        ("/etc/passwd", "/etc/passwd"),
        ("x" * 300 + ".txt", "x" * 300 + ".txt"),
    ],
    ids=["unicode", "quote", "dots", "absolute", "long"],
)
async def test_name_of_an_upload_is_told_and_never_believed(
    router: Router, core: Core, sent: str, named: str
) -> None:
    """Section 2: Chromium percent-encodes a quote in file names and sends the rest as raw UTF-8.
    A name is for people: where the file lies is the router's own choice."""
    await router.register(core, "1")
    boundary = "----WebKitFormBoundaryAbC"
    body = "".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n"
        for head, value in (
            ('name="USED_AGENT_ID"', "1"),
            (f'name="file"; filename="{sent}"\r\nContent-Type: text/plain', "content"),
        )
    )
    response = await router.http.post(
        "/submit_task",
        content=f"{body}--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    assert response.status_code == 200, response.text
    [entry] = (await core.receive("submit_unit")).data["files"]
    assert entry["originalname"] == named
    path = await anyio.Path(entry["path"]).resolve()
    assert path.parent == await anyio.Path(router.folders.uploads).resolve()
    assert await path.read_text() == "content"
    assert router.folders.secret.read_text() == "nobody may read this"
    response = await router.http.get(f"/download_file/{entry['filename']}")
    assert response.text == "content"


async def test_submission_of_files_alone_is_one(router: Router, core: Core) -> None:
    """Section 2: final_data may be absent from a form that has files."""
    await router.register(core, "1")
    parts: list[tuple[str, Any]] = [
        ("USED_AGENT_ID", (None, "1")),
        ("f", ("a.txt", b"a", "text/plain")),
    ]
    response = await router.http.post("/submit_task", files=parts)
    assert response.status_code == 200, response.text
    data = (await core.receive("submit_unit")).data
    assert set(data) == {"files", "filesByFields"}


async def test_uploads_of_a_refused_form_are_not_kept(router: Router, core: Core) -> None:
    """Nothing grows by what is refused: no agent, no submission, no files."""
    response = await router.http.post("/submit_task", files=[("f", ("a.txt", b"a", "text/plain"))])
    assert response.status_code == 422
    assert response.json()["field"] == "USED_AGENT_ID"
    assert list(router.folders.uploads.iterdir()) == []
    assert await core.came() == []


async def test_uploads_of_a_second_submission_are_not_kept(router: Router, core: Core) -> None:
    """Nothing grows by what goes no further: the second gets its 2xx, its files are forgotten."""
    await router.register(core, "1")
    for content in (b"first", b"second"):
        parts: list[tuple[str, Any]] = [
            ("USED_AGENT_ID", (None, "1")),
            ("f", ("a.txt", content, "text/plain")),
        ]
        response = await router.http.post("/submit_task", files=parts)
        assert response.status_code == 200, response.text
    (stored,) = router.folders.uploads.iterdir()
    assert stored.read_bytes() == b"first"
    (entry,) = (await core.receive("submit_unit")).data["files"]
    assert entry["filename"] == stored.name
    assert await core.came() == []


DOTS = ("..", "%2e%2e", ".%2E", "..%00", "%c0%ae%c0%ae")
OUTSIDE = [
    *(f"/{dots}/secret.txt" for dots in DOTS),
    *(f"/{dots}%2fsecret.txt" for dots in DOTS),
    *(f"/images/{dots}/{dots}/secret.txt" for dots in DOTS),
    *(f"/download_file/{dots}/secret.txt" for dots in DOTS),
    *(f"/download_file/{dots}%2fsecret.txt" for dots in DOTS),
    r"/..\secret.txt",
    r"/download_file/..\secret.txt",
    r"/download_file/..%5csecret.txt",
    "/download_file/..",
    "/download_file/.",
    "/download_file/",
    "/download_file/%00",
    "/bundle.js%00.txt",
    "/images",
    "/" + "x" * 3_000,
    "/download_file/" + "x" * 3_000,
    "/nothing.txt",
    "/download_file/nothing.txt",
]


async def test_path_that_is_no_file_of_ours_is_404(router: Router) -> None:
    """Bad input, `..` in a path (section 4: node serves /download_file/..%2fetc%2fpasswd)."""
    for path in OUTSIDE:
        status, answer = await router.raw_get(path)
        assert status == 404, (path, answer)
        assert b"nobody may read this" not in answer
        assert set(_json_of(answer)) == {"error_type", "text", "field", "expected"}


@pytest.mark.parametrize("prefix", ["/", "//", "/%2f", "/download_file/", "/download_file/%2f"])
async def test_absolute_path_is_404(router: Router, prefix: str) -> None:
    """Bad input, an absolute path: no way out of the folders, either."""
    path = str(router.folders.secret)
    for spelt in (path, path.lstrip("/"), path.replace("/", "%2f")):
        status, answer = await router.raw_get(prefix + spelt)
        assert status == 404, answer
        assert b"nobody may read this" not in answer


async def test_link_out_of_a_folder_is_404(router: Router) -> None:
    """Nothing outside the folders is readable, not even where something inside points there."""
    (router.folders.static / "link.txt").symlink_to(router.folders.secret)
    for name in ("0" * 32, "link.txt", "0" * 32 + "-f-link.txt"):
        (router.folders.uploads / name).symlink_to(router.folders.secret)
        status, answer = await router.raw_get(f"/download_file/{name}")
        assert status == 404, answer
    status, answer = await router.raw_get("/link.txt")
    assert status == 404, answer


async def test_file_that_was_not_uploaded_is_404(router: Router) -> None:
    """The uploads folder may be the system's own: what others put there is not served."""
    (router.folders.uploads / "private.key").write_text("not yours")
    status, answer = await router.raw_get("/download_file/private.key")
    assert status == 404
    assert b"not yours" not in answer


def _json_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])
