"""The connections of a server: clients, and those that have not shown the token yet.

Unknown connections have few places of their own, and the newest takes that of the oldest. They can
therefore neither use up the clients' places nor keep a client from connecting: a client shows its
token within milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import select
import socket
import threading
from pathlib import Path
from typing import Any

from ..errors import UserError

CLIENTS = 256  # maximum number of connections that have shown the token
UNKNOWN = 32  # maximum number of connections that have not
HELLO_SECONDS = 5.0  # longest time until a connection shows the token
SPARE_FILES = 48  # files that the process may open for other purposes
RETRY_SECONDS = 0.05
SIGNAL_SECONDS = 0.5  # longest time until a server notices Ctrl-C or SIGTERM
LOST = {  # of a connection that was lost before it was accepted, see accept(2)
    errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EPERM,
}  # fmt: skip
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Connections:
    """All open connections of a server. A socket that was closed is no longer counted.

    Servers close a connection that has not shown the token after ``hello_seconds``.
    """

    hello_seconds = HELLO_SECONDS

    def __init__(self, clients: int = CLIENTS, unknown: int = UNKNOWN) -> None:
        """Allow this number of connections, fewer if the process may not open that many files."""
        available = max(_free_files() - SPARE_FILES, 2)
        self.most_unknown = min(unknown, max(available // 4, 1))
        self.most_clients = min(clients, available - self.most_unknown)
        self._unknown: list[socket.socket] = []  # the oldest first
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()

    def accept(self, listener: socket.socket) -> tuple[socket.socket, Any]:
        """Wait for a connection and return it with its address.

        If the system has no resources for it, the oldest unknown connection is closed and the call
        goes on. The listener gets a timeout, because a signal that comes just before a wait does
        not end it: Python calls the signal's handler only afterwards.
        """
        listener.settimeout(SIGNAL_SECONDS)
        while True:
            try:
                connection, address = socket.socket.accept(listener)
            except TimeoutError:
                continue
            except OSError as err:
                if err.errno in EXHAUSTED:
                    with self._lock:
                        self._close_oldest(0)
                    select.select([], [], [], RETRY_SECONDS)
                elif err.errno not in LOST:
                    raise
                continue
            with self._lock:
                self._close_oldest(self.most_unknown - 1)
                self._unknown.append(connection)
            return connection, address

    def admit(self, connection: socket.socket) -> None:
        """Count a connection that has shown the token as a client.

        Raises UserError if all places of clients are in use.
        """
        with self._lock:
            self._clients = [client for client in self._clients if client.fileno() != -1]
            if len(self._clients) >= self.most_clients:
                raise UserError(
                    f"hello: all {self.most_clients} connections are in use; try again later"
                )
            self._unknown = [other for other in self._unknown if other is not connection]
            self._clients.append(connection)

    def shut_down(self) -> None:
        """Shut down all connections, so that their threads end."""
        with self._lock:
            for connection in (*self._unknown, *self._clients):
                _shut_down(connection)

    def _close_oldest(self, keep: int) -> None:
        self._unknown = [other for other in self._unknown if other.fileno() != -1]
        count = max(len(self._unknown) - keep, 0) if keep else min(len(self._unknown), 1)
        for connection in self._unknown[:count]:
            _shut_down(connection)  # its thread closes it
        del self._unknown[:count]


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _free_files() -> int:
    """Return the number of files that this process may still open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CLIENTS + UNKNOWN + SPARE_FILES
    try:
        used = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        used = SPARE_FILES
    return limit - used
