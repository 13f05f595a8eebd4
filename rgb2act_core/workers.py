"""Worker processes that simulate: spawned, deaf to Ctrl-C, and gone when their parent is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

SPAWN = multiprocessing.get_context("spawn")  # a forked child of a threaded parent may hang


def prepare() -> None:
    """Set a worker process up; call it first in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
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
