"""Call a logger in a thread of its own, so that it can neither stop nor delay a run."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from ..errors import UserError
from ..system.progress import say

LARGEST_BACKLOG = 10_000  # calls that wait; a logger that is further behind is left out


class Channel:
    """The calls of one logger, in order, in a daemon thread.

    The first call that raises is the last one: it is reported in one line that names the logger,
    and all later calls are dropped.
    """

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, False
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(LARGEST_BACKLOG)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._thread.start()

    def send(self, call: Callable[[], None]) -> None:
        """Let the thread do a call after those before it; return at once."""
        self._put(call)

    def end(self) -> None:
        """Let the thread end after the calls that are left; return at once."""
        self._put(None)

    def wait(self, seconds: float) -> None:
        """Wait for the thread to end, but not longer than ``seconds``."""
        if self.failed:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._fail("did not finish in time")

    def _put(self, call: Callable[[], None] | None) -> None:
        if self.failed:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._fail(f"does not respond: {LARGEST_BACKLOG} entries wait")

    def _work(self) -> None:
        while not self.failed and (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as err:  # SystemExit of a library ends no run either
                self._fail(_line(err))

    def _fail(self, reason: str) -> None:
        """Print the first failure."""
        with self._lock:
            first, self.failed = not self.failed, True
        if first:
            say(f"warning: logger {self.name}: {reason}; the run continues without it")


def _line(err: BaseException) -> str:
    """Return the first line of an exception's message, and its type unless it is a UserError."""
    text = str(err) if isinstance(err, UserError) else f"{type(err).__name__}: {err}"
    return text.partition("\n")[0][:300].rstrip(": ")
