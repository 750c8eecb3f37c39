"""Real programs as subprocesses: started, listened to line by line, ended by their own handle."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Core", "Event", "Process", "Router", "Task", "forget_uploads", "free_port"]

Event = dict[str, Any]
TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 20.0
"""Seconds to wait for anything: far more than any scenario needs, so running out is a failure."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def forget_uploads(names: Sequence[str]) -> None:
    """Remove what upstream's router, and any router under the local architect, leaves in /tmp."""
    for name in names:
        Path("/tmp", name).unlink(missing_ok=True)


class Process:
    """One subprocess: stdout is read as it comes, stderr is kept for the report of a failure."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._log = log
        self._changed = threading.Condition()
        self._ended = False
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                env={**os.environ, **(environment or {})},
                cwd=folder,
            )
        self._reader = threading.Thread(target=self._read, name=f"{name}-stdout", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_line(self, wanted: Callable[[str], bool], what: str) -> str:
        """Return the first line that is wanted, from those that came and those to come."""
        seen = 0

        def found() -> bool:
            nonlocal seen
            while seen < len(self.lines) and not wanted(self.lines[seen]):
                seen += 1
            return seen < len(self.lines) or self._ended

        with self._changed:
            in_time = self._changed.wait_for(found, PATIENCE)
            if seen < len(self.lines):
                return self.lines[seen]
        why = "ended" if in_time else f"said nothing of the kind within {PATIENCE:.0f} s"
        raise AssertionError(f"waiting for {what}: {self.name} {why}\n{self.report()}")

    def wait_for_start(self, wanted: Callable[[str], bool], what: str) -> None:
        """Wait for the line that says that it is ready; one that never is, is ended here."""
        try:
            self.wait_for_line(wanted, what)
        except AssertionError:
            self.terminate()
            raise

    def report(self) -> str:
        """Return the last that it said, for a failure's text."""
        said = "\n".join(self.lines[-25:])
        errors = "\n".join(self._log.read_text(errors="replace").splitlines()[-40:])
        return f"--- {self.name} stdout\n{said}\n--- {self.name} stderr\n{errors}"

    def terminate(self) -> int:
        """Ask it to end, as an operator would (SIGTERM), and return its exit code."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; one that does not come is forced, and fails the test."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end\n{self.report()}") from None
        finally:
            self._reader.join(PATIENCE)
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            self.terminate()


class Router(Process):
    """A router that listens; `static` is the folder that it serves."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        port: int,
        static: Path,
        log: Path,
        folder: Path | None = None,
    ) -> None:
        self.port = port
        self.static = static
        self.url = f"http://127.0.0.1:{port}"
        environment = {"PORT": str(port)}
        super().__init__(name, command, log=log, environment=environment, folder=folder)

    @classmethod
    def statecore(cls, folder: Path, port: int, *options: str) -> Self:
        """Start ours, by its command line."""
        static = folder / "static"
        static.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "statecore", "serve"]
        command += ["--port", str(port), "--static", str(static), *options]
        router = cls("statecore", command, port=port, static=static, log=folder / "router.log")
        router.wait_for_start(lambda line: f"listening on {router.url}" in line, "its address")
        return router

    @classmethod
    def upstream(cls, folder: Path, port: int, node: Path, source: Path) -> Self:
        """Start upstream's node router in a folder of its own: it serves `static/` beside it."""
        static = folder / "static"
        static.mkdir(parents=True, exist_ok=True)
        server = folder / "server.js"
        if not server.exists():
            server.write_bytes((source / "server.js").read_bytes())
            (folder / "node_modules").symlink_to(source / "node_modules")
        log = folder / "router.log"
        router = cls("node", [node, server], port=port, static=static, log=log, folder=folder)
        router.wait_for_start(lambda line: line == f"Listening on {port}", "its port")
        return router


class Told(Process):
    """A program that tells what it sees and does in JSON lines, and ends when stdin does."""

    def wait_until_ready(self) -> None:
        """Wait until it can be worked with."""
        self.wait_for_start(lambda line: _matches(json.loads(line), "ready", {}), "ready")

    def wait_for(self, event: str, **facts: Any) -> Event:
        """Return the first event that has these facts, waiting for it when it has not come yet."""
        what = f"{event} {facts}" if facts else event
        line = self.wait_for_line(lambda line: _matches(json.loads(line), event, facts), what)
        found: Event = json.loads(line)
        return found

    def wait_for_count(self, event: str, count: int, **facts: Any) -> None:
        """Wait until an event with these facts has come that often."""
        seen = 0

        def is_the_last(line: str) -> bool:
            nonlocal seen
            seen += _matches(json.loads(line), event, facts)
            return seen == count

        self.wait_for_line(is_the_last, f"{event} {facts or ''}, {count} times")

    def so_far(self, event: str, **facts: Any) -> list[Event]:
        """Return all the events until now that have these facts."""
        events = [json.loads(line) for line in list(self.lines)]
        return [found for found in events if _matches(found, event, facts)]

    def close(self) -> None:
        """End it the way that it is meant to end; that it can is part of every scenario."""
        code = self.wait()
        assert code == 0, f"exit code {code}\n{self.report()}"
        self.wait_for("done")


class Core(Told):
    """A real Mephisto core that runs one scenario; see `interop.core_driver`."""

    def __init__(
        self, python: Path, scenario: str, folder: Path, port: int, *options: str | Path
    ) -> None:
        home = folder / "home"
        home.mkdir(parents=True)
        # As in an activated environment: the local architect starts whatever `python` is.
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        command: list[str | Path] = [python, "-m", "interop.core_driver", scenario]
        command += ["--data", folder, "--port", str(port), *options]
        super().__init__(
            f"core ({scenario})",
            command,
            log=folder / "core.log",
            environment={
                "HOME": str(home),
                "PATH": path,
                "PYTHONPATH": str(TESTS),
                "STATECORE_HOST": "127.0.0.1",
            },
        )
        self.wait_until_ready()


class Task(Told):
    """Our own backend that runs one scenario; see `interop.task_driver`."""

    def __init__(self, scenario: str, folder: Path, url: str) -> None:
        folder.mkdir(parents=True)
        super().__init__(
            f"task ({scenario})",
            [sys.executable, "-m", "interop.task_driver", scenario, "--router", url],
            log=folder / "task.log",
            environment={"PYTHONPATH": str(TESTS)},
        )
        self.wait_until_ready()

    def send(self, text: str) -> None:
        """Let the task send this to all agents that work together."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()


def _matches(found: Event, event: str, facts: Mapping[str, Any]) -> bool:
    return found["event"] == event and all(found.get(key) == facts[key] for key in facts)
