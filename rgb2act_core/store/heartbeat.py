"""One thread that updates all lock files of this process, so that other processes respect them."""

from __future__ import annotations

import threading
from typing import Protocol

BEAT = 3.0  # seconds between two updates


class Beating(Protocol):
    """Something that has to be updated while it is held."""

    def update(self) -> None:
        """Update the time of the lock files; called from the thread."""


class Heartbeat:
    """Updates what was added every ``BEAT`` seconds, in a thread that runs while there is any."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._items: list[Beating] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def add(self, item: Beating) -> None:
        """Update ``item`` from now on."""
        with self._mutex:
            self._items.append(item)
            if len(self._items) == 1:
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._ended,), daemon=True)
                self._thread.start()

    def remove(self, item: Beating) -> None:
        """Stop updating ``item``; no update of it is in progress when this returns."""
        with self._mutex:
            self._items = [each for each in self._items if each is not item]
            thread = None if self._items else self._thread
            if thread is not None:
                self._ended.set()
        if thread is not None:
            thread.join()

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            for item in list(self._items):
                with self._mutex:
                    if any(each is item for each in self._items):
                        item.update()


HEARTBEAT = Heartbeat()  # of this process
