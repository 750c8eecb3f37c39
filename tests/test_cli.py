"""The command line: flags become options, wrong use is one line and exit code 2."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from statecore.adapters import cli
from statecore.adapters.serve import ServerOptions
from statecore.diagrams import draw
from statecore.settings import RouterOptions


class Served:
    """Stands where the server would run, and keeps what it was given."""

    def __call__(self, app: Any, routers: Any, options: ServerOptions, *, hint: str) -> None:
        self.app = app
        self.routers = routers
        self.options = options
        self.hint = hint

    @property
    def router(self) -> RouterOptions:
        options: RouterOptions = self.app.driver.core.state.options
        return options


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    served = Served()
    monkeypatch.setattr(cli, "run_server", served)
    monkeypatch.delenv("PORT", raising=False)
    return served


def statecore(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    code = ended.value.code
    assert isinstance(code, int | None)
    return code or 0


def test_serve_without_flags_has_the_defaults(served: Served) -> None:
    assert statecore("serve") == 0
    assert served.router == RouterOptions()
    assert served.options == ServerOptions()
    assert served.routers == [served.app]


def test_serve_has_a_flag_for_every_option_of_the_router(served: Served) -> None:
    changed: dict[str, Any] = {}
    arguments = ["serve"]
    for field in dataclasses.fields(RouterOptions):
        default = getattr(RouterOptions(), field.name)
        changed[field.name] = "secret" if default is None else type(default)(default + 7)
        arguments += ["--" + field.name.replace("_", "-"), str(changed[field.name])]
    assert statecore(*arguments) == 0
    assert served.router == RouterOptions(**changed)
    # The server reads no more than the router does.
    assert served.options.frame_limit == changed["frame_limit"]


def test_serve_takes_the_port_from_the_environment_and_the_flag_first(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "4001")
    assert statecore("serve") == 0
    assert served.options.port == 4001
    assert statecore("serve", "--port", "4002", "--host", "0.0.0.0") == 0
    assert (served.options.host, served.options.port) == ("0.0.0.0", 4002)


def test_serve_takes_the_system_token_from_the_environment(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATECORE_SYSTEM_TOKEN", "t0ken")
    assert statecore("serve") == 0
    assert served.router.system_token == "t0ken"


def test_serve_without_pages_says_so(served: Served, tmp_path: Path) -> None:
    assert statecore("serve") == 0
    assert served.hint == "no --static: pages are not served, only the router's own routes"
    assert statecore("serve", "--static", str(tmp_path)) == 0
    assert served.hint == ""


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert statecore("--version") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"statecore {metadata.version('statecore')}\n", "")


def test_serve_keeps_uploads_where_it_is_told(served: Served, tmp_path: Path) -> None:
    assert statecore("serve", "--data", str(tmp_path / "data")) == 0
    assert (tmp_path / "data" / "uploads").is_dir()
    both = ["--data", str(tmp_path / "other"), "--uploads", str(tmp_path / "files")]
    assert statecore("serve", *both) == 0
    assert (tmp_path / "files").is_dir()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["--bogus"], "No such option: --bogus"),
        (["serve", "--bogus"], "No such option: --bogus"),
        (["serve", "--port", "many"], "'--port'"),
        (["serve", "--port", "65536"], "65535"),
        (["serve", "--grace", "-1"], "'--grace'"),
        (["serve", "--static", "/no/such/folder"], "'/no/such/folder' does not exist"),
        (["serve", "--uploads", "/dev/null/x"], "/dev/null/x: Not a directory"),
        (["serve", "--host", "no.such.host.invalid"], "an address of this machine"),
        (["diagram", "nowhere"], "expected module:attribute"),
        (["diagram", "--format", "crayon"], "no format 'crayon'"),
        (["diagram", "-o", "/no/such/folder/x"], "No such file or directory"),
        (["mephisto-router"], "DIR"),
        (["mephisto-router", "/"], "expected: a new or an empty folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert statecore(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("statecore: ")
    assert printed.err.count("\n") == 1
    assert text in printed.err


def test_port_in_use_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert statecore("serve", "--port", str(port)) == 2
    expected = f"cannot listen on 127.0.0.1:{port}: the port is in use; expected: a free port"
    assert capsys.readouterr().err == f"statecore: {expected}\n"


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["statecore"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "serve" in capsys.readouterr().out
    assert statecore("--help") == 0
    assert statecore("serve", "--help") == 0


def test_diagram_prints_or_writes_the_lifecycle(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert statecore("diagram") == 0
    assert capsys.readouterr().out == draw()
    target = tmp_path / "lifecycle.mmd"
    assert statecore("diagram", "statecore.lifecycle:LIFECYCLE", "-o", str(target)) == 0
    assert capsys.readouterr().out == ""
    assert target.read_text() == draw()


def test_mephisto_router_says_how_to_use_the_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert statecore("mephisto-router", "router") == 0
    assert (tmp_path / "router" / "app.py").is_file()
    assert f"architect.server_source_path={tmp_path}/router" in capsys.readouterr().out


def test_demo_is_given_the_address_and_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    from statecore.adapters.demo import app

    given: list[object] = []
    monkeypatch.setattr(app, "run_demo", lambda *arguments: given.append(arguments))
    monkeypatch.delenv("PORT", raising=False)
    assert statecore("demo") == 0
    assert statecore("demo", "--port", "0", "--grace", "0.5") == 0
    assert given == [
        ("127.0.0.1", 3000, RouterOptions()),
        ("127.0.0.1", 0, RouterOptions(grace=0.5)),
    ]


def test_every_command_has_help() -> None:
    commands = typer.main.get_group(cli.app).commands
    assert sorted(commands) == ["demo", "diagram", "mephisto-router", "serve"]
    assert all(command.help for command in commands.values())


def test_module_is_the_command_line_too() -> None:
    command = [sys.executable, "-m", "statecore", "serve", "--static", "/no/such/folder"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "20"}
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "/no/such/folder" in ended.stderr
