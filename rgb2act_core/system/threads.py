"""Threads around a loop: one that works ahead of it, one that works behind it, loops side by side.

An exception of any thread is raised in the thread that waits for it. A thread that is left ends
after the job under way; leaving by Ctrl-C waits for that, a second Ctrl-C does not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def prefetch(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Lend an iterator over items that a thread makes, up to ``depth`` of them in advance.

    What making an item raises is raised where that item would have come.
    """
    made: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    room, left = threading.Semaphore(depth), threading.Event()

    def make() -> None:
        rest = iter(items)
        try:
            while room.acquire() and not left.is_set():
                made.put(("item", next(rest)))
        except StopIteration:
            made.put(("end", None))
        except BaseException as err:
            made.put(("error", err))

    def take() -> Iterator[T]:
        while True:
            what, value = made.get()
            if what == "error":
                raise value
            if what == "end":
                return
            room.release()
            yield value
            del value  # or it would be kept while the next one is waited for

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        left.set()
        room.release()
        thread.join()


class BackgroundWriter:
    """Do jobs one after another in a thread, while at most ``depth`` of them wait.

    Leaving the block waits until all are done, also when the block raised: what was handed over
    is not lost. After a job that raised, no other is done; ``put`` or leaving raises its error.
    """

    def __init__(self, depth: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def put(self, job: Callable[[], object]) -> None:
        """Hand a job over, and wait for room first."""
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._jobs.put(job)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as err:
                self._error = err
            del job
            self._room.release()


def run_parallel(works: Sequence[Callable[[Callable[[], bool]], object]]) -> None:
    """Do works at once, each in a thread; a single one is done by the caller.

    Each is given a function that tells whether another has failed: then it is to return early.
    """
    if len(works) == 1:
        works[0](lambda: False)
        return
    stop = threading.Event()
    with ThreadPoolExecutor(len(works)) as threads:
        try:
            futures = [threads.submit(work, stop.is_set) for work in works]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    for future in futures:
        future.result()
