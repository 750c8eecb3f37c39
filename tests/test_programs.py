"""The programs that the tests drive: what is looked for, and what is said when it is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from chromium import NAMES, find_chromium

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "programs"


def install(folder: Path, name: str, line: str = ":") -> Path:
    """A program that is no more than this line of shell."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
    return program


def run_script(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``.ci/programs`` where there are only these programs, and so nothing to install with."""
    identity = shutil.which("id")
    assert identity is not None
    (folder / "id").symlink_to(identity)
    command = ["/bin/sh", str(SCRIPT)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": str(folder)}
    )


def with_node(folder: Path, version: str) -> None:
    install(folder, "node", f"echo {version}")
    install(folder, "npm")


@pytest.mark.parametrize("name", NAMES)
def test_script_and_tests_take_the_same_names_for_chromium(tmp_path: Path, name: str) -> None:
    with_node(tmp_path, "v20.0.0")
    program = install(tmp_path, name)
    assert find_chromium(str(tmp_path)) == str(program)
    ended = run_script(tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_without_chromium_both_say_what_to_install(tmp_path: Path) -> None:
    with_node(tmp_path, "v22.1.0")
    with pytest.raises(AssertionError, match="apt-get install chromium"):
        find_chromium(str(tmp_path))
    ended = run_script(tmp_path)
    assert ended.returncode == 1
    assert "apt-get install chromium" in ended.stderr


@pytest.mark.parametrize("version", ["v18.20.4", "v9.11.2"])
def test_script_refuses_an_old_node(tmp_path: Path, version: str) -> None:
    with_node(tmp_path, version)
    install(tmp_path, "chromium")
    ended = run_script(tmp_path)
    assert ended.returncode == 1
    assert f"need Node.js 20 or newer, and this is {version}" in ended.stderr


def test_script_without_node_says_so(tmp_path: Path) -> None:
    install(tmp_path, "chromium")
    ended = run_script(tmp_path)
    assert ended.returncode == 1
    assert "need Node.js 20 or newer with npm" in ended.stderr
