"""A proxy on loopback that cuts its connections after so many bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Forwards to a port. With `limit`, everything is cut once so many bytes have gone to the server, or from it."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.limit: int | None = None
        self.passed = {True: 0, False: 0}  # to the server, and from it
        self.counted = True  # which of the two the limit is of
        self.is_down = False
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, limit: int | None, to_server: bool = True) -> None:
        self.limit, self.counted, self.passed = limit, to_server, {True: 0, False: 0}

    def cut(self) -> None:
        """End all connections."""
        sockets, self._sockets = self._sockets, []  # not those that are opened in answer to this
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while content := source.recv(2**16):
                if self.limit is not None and to_server == self.counted:
                    left = self.limit - self.passed[to_server]
                    if len(content) >= left:
                        target.sendall(content[:left])
                        self.limit = None
                        self.cut()
                        return
                self.passed[to_server] += len(content)
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
