"""Worker processes for simulators: spawned, ignoring Ctrl-C, ending with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from .progress import say

FINISHING = 10.0  # seconds that running work has to finish when a run is stopped


class _Worker(SpawnProcess):
    """Process started with SIGINT blocked: Ctrl-C during imports would print a traceback."""

    def start(self) -> None:
        resource_tracker.ensure_running()  # starting it later would unblock the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawn(SpawnContext):
    Process = _Worker


SPAWN = _Spawn()  # a forked child of a threaded parent may hang


def prepare() -> None:
    """Prepare a worker process; the worker must call this first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: Any) -> None:
    parent.join()
    os._exit(1)  # the parent was killed, so this worker's result is not needed


def pool(workers: int, initialise: Callable[..., None], *args: Any) -> ProcessPoolExecutor:
    """Return an executor whose workers each call ``initialise(*args)`` once."""
    return ProcessPoolExecutor(
        workers, mp_context=SPAWN, initializer=_start, initargs=(initialise, args)
    )


def stop(executor: ProcessPoolExecutor, seconds: float = FINISHING) -> None:
    """Cancel what an executor has not begun, and stop its workers after at most ``seconds``.

    A worker that is stopped leaves its result unfinished, so results must be written atomically.
    """
    workers = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    until = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    if unfinished := [worker for worker in workers if worker.is_alive()]:
        say(f"stopped {len(unfinished)} worker processes before they finished")
        for worker in unfinished:
            worker.kill()


def _start(initialise: Callable[..., None], args: tuple[Any, ...]) -> None:
    prepare()
    initialise(*args)
