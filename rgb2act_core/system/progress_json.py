"""Progress as JSON on stderr, one object a line, for programs that run rgb2act."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

VARIABLE = "RGB2ACT_PROGRESS"  # an environment variable, as worker processes print progress too
EVERY = 1.0  # seconds between two lines of a task
SCHEMA = "rgb2act.progress/1"

Advance = Callable[..., None]


def is_on() -> bool:
    """Return whether progress is printed as JSON."""
    return os.environ.get(VARIABLE) == "json"


def message(text: str) -> None:
    """Print a message."""
    _print("message", text=text)


@contextlib.contextmanager
def task(title: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    """Print the progress of a task: at its start, at most once a second, and at its end."""
    start = last = time.monotonic()
    count, shown = done, dict[str, object]()

    def show(state: str) -> None:
        _print(
            "task",
            task=title,
            state=state,
            done=count,
            total=total,
            unit=unit,
            seconds=round(time.monotonic() - start, 3),
            values=shown,
        )

    def advance(n: int = 1, **values: object) -> None:
        nonlocal count, last, shown
        count, shown = count + n, values or shown
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            show("running")

    show("running")
    state = "stopped"
    try:
        yield advance
        state = "ended"
    finally:
        show(state)


def _print(event: str, **content: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # progress that can't be printed stops no run
        line = json.dumps({"schema": SCHEMA, "event": event, **content}, default=str)
        print(line, file=sys.stderr, flush=True)
