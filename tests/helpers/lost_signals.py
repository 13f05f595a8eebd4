"""Signals that come while the main thread waits, but do not interrupt its wait.

The same happens, rarely, to a signal that comes between Python's check for signals and the wait.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

DELAY = 0.2  # seconds until the signal
PATIENCE = 20.0  # seconds until a server that has missed the signal is reached by a connection


@contextlib.contextmanager
def interrupted_elsewhere(listener: socket.socket) -> Iterator[None]:
    """Send SIGINT to another thread while the main thread serves in the block.

    Python's handler still runs in the main thread, but only once its wait ends. A main thread that
    has missed the signal gets a connection, so that the test fails and does not hang.
    """
    served = threading.Event()
    address = listener.getsockname()

    def interrupt() -> None:
        if served.wait(DELAY):
            return
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        if not served.wait(PATIENCE):
            socket.create_connection(address).close()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        start = time.monotonic()
        yield
        assert time.monotonic() - start < PATIENCE, "the signal did not end the wait"
    finally:
        served.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
