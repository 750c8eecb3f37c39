"""A folder for `architect.server_source_path`, taken by an unmodified LocalArchitect.

The architect copies the folder, adds the task's static files, and starts `python app.py` there with
PORT set, with the interpreter that has mephisto. The same scenarios run with upstream's own node
router in such a folder, which proves them.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from .environment import Environment
from .processes import PATIENCE, Core, forget_uploads, free_port
from .raw_page import RawPage

pytestmark = pytest.mark.interop


@pytest.fixture(params=["statecore", "node"])
def source(request: pytest.FixtureRequest, upstream: Environment, tmp_path: Path) -> Path:
    """A folder that the architect is pointed at."""
    folder = tmp_path / "source"
    if request.param == "statecore":
        command = [sys.executable, "-m", "statecore", "mephisto-router", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    else:
        folder.mkdir()
        for name in ("server.js", "static", "node_modules"):
            (folder / name).symlink_to(upstream.node_router / name)
        start = f"import os; os.execv({str(upstream.node)!r}, ['node', 'server.js'])\n"
        (folder / "app.py").write_text(start)
    return folder


@pytest.fixture
def started(upstream: Environment, source: Path, tmp_path: Path) -> Iterator[tuple[Core, str]]:
    """A core that started the router itself, and the router's address; both end with the core."""
    port = free_port()
    with ExitStack() as running:
        core = running.enter_context(
            Core(upstream.python, "quiz", tmp_path / "core", port, "--source", source)
        )
        yield core, f"http://127.0.0.1:{port}"
        core.close()
        assert core.so_far("refused") == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/is_alive", trust_env=False, timeout=PATIENCE)


def test_local_architect_serves_the_task_and_stores_the_submission(
    started: tuple[Core, str],
) -> None:
    core, url = started
    with RawPage(url, "ada") as page:
        index = httpx.get(f"{url}/", trust_env=False).text
        assert "wrap_crowd_source.js" in index
        assert "bundle.js" in index
        for name in ("wrap_crowd_source.js", "bundle.js"):
            assert httpx.get(f"{url}/{name}", trust_env=False).status_code == 200
        assert page.task_config("2.0.3")["mephisto_task_version"] == "2.0.3"

        page.request_agent()
        page.submit_onboarding({"answer": "blue"})
        page.submit_task({"label": "cat"})

    completed = core.wait_for("unit_completed", agent="1")
    assert completed["data"]["outputs"] == {"label": "cat"}
    assert core.so_far("received", packet_type="log_error") == []


def test_local_architect_collects_an_upload(started: tuple[Core, str]) -> None:
    core, url = started
    content = bytes(range(256))
    with RawPage(url, "ada") as page:
        page.request_agent()
        page.submit_onboarding({"answer": "blue"})
        page.upload_task({"label": "with a file"}, {"note.txt": content})

    completed = core.wait_for("unit_completed", agent="1")
    (name,) = completed["data"]["outputs"]["files"]
    assert Path(completed["folder"], name).read_bytes() == content
    forget_uploads([name])
