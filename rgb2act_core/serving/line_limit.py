"""Lines about clients on standard error: few per second and short, whatever strangers send."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

LINES = 20  # per second; the others are counted
LENGTH = 400  # characters of a line


class ClientLog:
    """Prints lines about clients, at most ``LINES`` per second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start = self._printed = self._omitted = 0

    def print(self, text: str) -> None:
        """Print a line, shortened and without control characters, or count it."""
        with self._lock:
            if (second := int(time.monotonic())) != self._start:
                self._print_omitted()
                self._start, self._printed = second, 0
            if self._printed < LINES:
                self._printed += 1
                _print(text)
            else:
                self._omitted += 1

    def close(self) -> None:
        """Print the number of lines that were only counted."""
        with self._lock:
            self._print_omitted()

    def _print_omitted(self) -> None:
        if self._omitted:
            _print(f"{self._omitted} more lines about clients")
            self._omitted = 0


def _print(text: str) -> None:
    shown = text if len(text) <= LENGTH else f"{text[:LENGTH]} ..."
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    with contextlib.suppress(OSError, ValueError):  # a closed pipe does not end the server
        print(line, file=sys.stderr, flush=True)


client_log = ClientLog()  # of this process, which has one standard error
