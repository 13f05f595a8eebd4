"""Worker processes that simulate: spawned, deaf to Ctrl-C, and gone when their parent is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any


class _Deaf(SpawnProcess):
    """Start with SIGINT blocked: a Ctrl-C while the worker imports would print its traceback."""

    def start(self) -> None:
        resource_tracker.ensure_running()  # its own start would let the signal through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawn(SpawnContext):
    Process = _Deaf


SPAWN = _Spawn()  # a forked child of a threaded parent may hang


def prepare() -> None:
    """Set a worker process up; call it first in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Any) -> None:
    parent.join()
    os._exit(1)  # the parent was killed: nobody waits for this worker's result


def pool(workers: int, initialise: Callable[..., None], *args: Any) -> ProcessPoolExecutor:
    """Return an executor whose workers each call ``initialise(*args)`` once."""
    return ProcessPoolExecutor(
        workers, mp_context=SPAWN, initializer=_start, initargs=(initialise, args)
    )


def _start(initialise: Callable[..., None], args: tuple[Any, ...]) -> None:
    prepare()
    initialise(*args)
