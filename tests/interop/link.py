"""A TCP way between a core and a router that a test can make lossy, and cut."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from .processes import PATIENCE

__all__ = ["Link"]


class Link:
    """Passes bytes on between whoever connects to `port` and the router.

    TCP loses bytes only with their connection, so a test that loses some cuts it afterwards.
    """

    def __init__(self, router_port: int) -> None:
        self._router_port = router_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._losing = ""
        self._lost = b""
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def lose(self, to: str) -> None:
        """Lose everything that is on its way to the "core" or to the "router", until the cut."""
        with self._changed:
            self._losing = to

    def wait_until_lost(self, part: bytes) -> None:
        """Wait until these bytes were among those that were lost."""
        with self._changed:
            assert self._changed.wait_for(lambda: part in self._lost, PATIENCE), self._lost

    def cut(self) -> None:
        """End all connections; new ones are whole again."""
        with self._changed:
            self._losing = ""
            sockets, self._sockets = self._sockets, []
        for end in sockets:
            with suppress(OSError):  # an end that has closed already is cut
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                core, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            try:
                router = socket.create_connection(("127.0.0.1", self._router_port))
            except ConnectionRefusedError:
                core.close()
                continue
            with self._changed:
                self._sockets += [core, router]
            self._start(self._pass_on, core, router, "router")
            self._start(self._pass_on, router, core, "core")

    def _pass_on(self, source: socket.socket, target: socket.socket, to: str) -> None:
        with suppress(OSError):  # either end may close at any time, and so ends both ways
            while content := source.recv(1 << 16):
                with self._changed:
                    if self._losing == to:
                        self._lost += content
                        self._changed.notify_all()
                        continue
                target.sendall(content)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing alone would not wake the thread that waits in accept.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
