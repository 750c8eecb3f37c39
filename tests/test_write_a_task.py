"""The listings of README.md and docs/write-a-task.md run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import anyio
import pytest
from wire_core import running_router

from statecore.adapters.task_server import TaskServer

DOCS = Path(__file__).parents[1] / "docs"

pytestmark = pytest.mark.anyio


async def test_the_listed_task_serves_the_listed_worker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS / "examples"), *sys.path])
    from label_task import TASK
    from label_worker import work

    with running_router() as url, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            server = TaskServer(TASK, [url])
            await tasks.start(server.run)
            await work(url, "ann", "praise")
            await work(url, "bob", "complaint")
            tasks.cancel_scope.cancel()
    told = capsys.readouterr().out.splitlines()
    assert "ann labels 'Well made.' as praise" in told
    assert "bob labels 'Well made.' as complaint" in told


async def test_the_listing_is_the_file() -> None:
    text = (DOCS / "write-a-task.md").read_text(encoding="utf-8")
    assert (DOCS / "examples" / "label_task.py").read_text(encoding="utf-8").rstrip() in text


async def test_the_lines_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    listing = text.partition("```python\n")[2].partition("```")[0]
    exec(compile(listing, "README.md", "exec"), {})
    assert capsys.readouterr().out == "Send page update_status\nin_task\n"


async def test_every_link_of_the_readme_and_docs_leads_somewhere() -> None:
    pages = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    dangling = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert dangling == []
