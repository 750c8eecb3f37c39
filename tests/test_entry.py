"""Where the command begins: a missing extra is one line that says what to install."""

from __future__ import annotations

import runpy
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from statecore.adapters import entry

# What ``pip install statecore`` brings no module for, as far as the command line wants it.
EXTRAS = ("anyio", "httpx", "rich", "starlette", "typer", "uvicorn", "uvloop", "websockets")


def run_without(modules: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m statecore`` where these modules cannot be found."""
    program = f"""
import runpy, sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nowhere())
sys.argv = ["statecore", *{arguments!r}]
runpy.run_module("statecore", run_name="__main__")
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("serve",), ("--help",), ("diagram",)])
def test_command_without_the_server_extra_says_what_to_install(arguments: tuple[str, ...]) -> None:
    ended = run_without(EXTRAS, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("statecore: ")
    assert ended.stderr.endswith("not installed; expected: pip install 'statecore[server]'\n")


def test_diagram_without_its_extra_says_what_to_install() -> None:
    ended = run_without(("networkx",), "diagram")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "drawing needs networkx: pip install 'statecore[diagrams]'" in ended.stderr


def test_other_commands_need_no_diagrams() -> None:
    ended = run_without(("networkx",), "serve", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--port" in ended.stdout


def test_module_of_our_own_that_is_missing_is_no_matter_of_extras() -> None:
    error = ModuleNotFoundError("No module", name="statecore.nothing")
    with pytest.raises(ModuleNotFoundError):
        entry.missing_extra(error)


def test_console_script_begins_here() -> None:
    (script,) = entry_points(group="console_scripts", name="statecore")
    assert script.load() is entry.main


def test_the_package_runs_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m statecore`, in this process so that it is seen to be covered."""
    monkeypatch.setattr(sys, "argv", ["statecore", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("statecore", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("statecore ")
