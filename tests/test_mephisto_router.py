"""The folder for Mephisto: what it copies, what it runs, and by which interpreter."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from statecore.adapters.mephisto_router import FolderError, write_router


def test_folder_has_what_mephisto_copies_into(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "router"
    write_router(folder)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert found == ["app.py", "static", "static/index.html"]


def test_app_needs_the_standard_library_only_and_any_python_3(tmp_path: Path) -> None:
    write_router(tmp_path / "router")
    tree = ast.parse((tmp_path / "router" / "app.py").read_text(), feature_version=(3, 7))
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert sorted(names) == ["os", "sys"]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_folder_of_ours_is_written_anew_and_keeps_what_is_beside(tmp_path: Path) -> None:
    write_router(tmp_path, host="127.0.0.1")
    (tmp_path / "notes.txt").write_text("mine")
    write_router(tmp_path, host="127.0.0.2")
    assert '"127.0.0.2"' in (tmp_path / "app.py").read_text().replace("'", '"')
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "app.py"])
def test_folder_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("theirs")
    with pytest.raises(FolderError, match="is not empty and was not written by this command"):
        write_router(tmp_path)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "theirs"


def test_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FolderError, match=r"cannot write .*; expected: a folder of your own"):
            write_router(folder)


def test_copied_folder_runs_the_router_with_the_interpreter_that_wrote_it(tmp_path: Path) -> None:
    write_router(tmp_path / "router", host="127.0.0.1")
    # As Mephisto does: copy, add files, run `python app.py` there with PORT.
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "router", copied, symlinks=True)
    (copied / "static" / "task_config.json").write_text('{"mephisto_task_version": "2.0.3"}')
    (copied / "json.py").write_text("raise ImportError('this folder is no place for modules')")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "msgspec.py").write_text("raise ImportError('their old package')")
    environment = dict(os.environ, PORT="0", PYTHONPATH=str(tmp_path / "theirs"))
    with _process(
        [Path(sys.base_prefix) / "bin" / "python3", "app.py"],  # it does not have our packages
        cwd=copied,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), process.stderr.read()
        url = line.removeprefix("listening on ").strip()
        answer = httpx.get(f"{url}/task_config.json?mephisto_task_version=2.0.3")
        assert answer.json() == {"mephisto_task_version": "2.0.3"}
        content = b"a worker's file"
        upload = httpx.post(
            f"{url}/submit_task",
            data={"USED_AGENT_ID": "a1", "final_data": "{}"},
            files={"f": ("statecore-test.txt", content)},
        )
        assert upload.status_code == 200
        (stored,) = Path("/tmp").glob("*-f-statecore-test.txt")
        try:
            assert stored.read_bytes() == content
        finally:
            stored.unlink()
        # The signal is sent to the process that Mephisto started: nothing may stand between.
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""


@contextmanager
def _process(command: list[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone at the end, however the test goes."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_folder_whose_interpreter_is_gone_says_what_to_do(tmp_path: Path) -> None:
    write_router(tmp_path)
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace(repr(sys.executable), "'/no/such/python'"))
    ended = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot run /no/such/python: No such file or directory;")
    assert ended.stderr.count("\n") == 1
