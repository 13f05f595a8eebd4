"""Threads around a loop: prefetch its items, write its results in the background, run several.

An exception in a thread is raised in the thread that waits for its result. Leaving a block waits
for the item or job in progress, also on Ctrl-C; a second Ctrl-C does not wait.
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
    """Yield an iterator over ``items``, which a thread computes up to ``depth`` in advance.

    An exception in ``items`` is raised at the position of the item that failed.
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
            del value  # free it before waiting for the next item

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        left.set()
        room.release()
        thread.join()


class BackgroundWriter:
    """Thread that runs jobs in order, such as writes; at most ``depth`` jobs wait.

    Leaving the block waits until all submitted jobs are finished, also if the block raised. After
    a job fails, the others are skipped and its exception is raised by ``put`` or on leaving.
    """

    def __init__(self, depth: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def put(self, job: Callable[[], object]) -> None:
        """Submit a job; block while ``depth`` jobs are waiting."""
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


def run_parallel(tasks: Sequence[Callable[[Callable[[], bool]], object]]) -> None:
    """Run tasks at the same time, each in a thread; a single task runs in the calling thread.

    Each task receives a function that returns whether another task has failed, in which case it
    should return early. The first exception is raised when all tasks have ended.
    """
    if len(tasks) == 1:
        tasks[0](lambda: False)
        return
    stop = threading.Event()
    with ThreadPoolExecutor(len(tasks)) as threads:
        try:
            futures = [threads.submit(task, stop.is_set) for task in tasks]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    for future in futures:
        future.result()
