"""A wire between browser and demo that can be cut and mended: a lost network, for real."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Line", "line_to"]


class Line:
    """Passes bytes between whoever connects and one port of this machine.

    A browser's own "offline" switch is not used, because not every Chromium applies it to a
    WebSocket that is open already.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._is_cut = False
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def cut(self) -> None:
        """Break every connection, and each new one as soon as it is made."""
        with self._lock:
            self._is_cut = True
            for end in self._ends:
                _break(end)

    def mend(self) -> None:
        """Let new connections through again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """Break everything and wait for the threads."""
        self.cut()
        _break(self._listener)
        while self._threads:
            self._threads.pop().join()
        self._listener.close()

    def _start(self, job: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=job, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._ends |= {near, far}
            self._start(self._carry, near, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()
        with self._lock:
            self._ends -= {near, far}
        near.close()
        far.close()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Run a line to a port of this machine."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on until one end is gone; then the other goes too."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _break(source)
    _break(target)


def _break(end: socket.socket) -> None:
    with suppress(OSError):  # not connected any more
        end.shutdown(socket.SHUT_RDWR)
