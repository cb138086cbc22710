"""A TCP proxy that can be cut: an outage of CrateDB for one worker, without touching the server.

Two threads per connection; made for tests.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on a free port of this machine and passes everything on to (host, port)."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._is_cut = threading.Event()
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and each new one at once."""
        self._is_cut.set()
        for each in list(self._open):
            shut(each)

    def mend(self) -> None:
        self._is_cut.clear()

    def close(self) -> None:
        shut(self._server)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the server socket was closed: that is the end
            while True:
                client, _ = self._server.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        if self._is_cut.is_set():
            shut(client)
            return
        try:
            target = socket.create_connection(self._target, timeout=10)
        except OSError:
            shut(client)
            return
        target.settimeout(None)
        self._open |= {client, target}
        for source, sink in ((client, target), (target, client)):
            threading.Thread(target=self._pump, args=(source, sink), name="proxy-pump", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # cut, or closed by one of the two: both ends go
            while chunk := source.recv(65_536):
                sink.sendall(chunk)
        for each in (source, sink):
            shut(each)
            self._open.discard(each)


def shut(each: socket.socket) -> None:
    with suppress(OSError):  # closed already by the other direction
        each.shutdown(socket.SHUT_RDWR)
    each.close()
