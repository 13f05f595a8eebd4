"""Ctrl-C and SIGTERM: both end a command in the same way, at a safe point where there is one."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = 0.1  # seconds
_received: list[int] = []  # signals since the outermost ``recorded``


def _interrupt_main() -> None:
    """Send SIGINT to the main thread, which also ends a sleep or a read that it waits in."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@contextlib.contextmanager
def recorded() -> Iterator[Callable[[], int | None]]:
    """Raise KeyboardInterrupt on Ctrl-C and on SIGTERM, which schedulers send before they kill.

    Yields a function that returns the first signal that was received, or None. Libraries may
    replace the exception by one of their own, for example while they are imported.
    """
    _received.clear()
    hook = sys.unraisablehook

    def ignored(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # it was raised in a destructor, which drops exceptions: raise it again soon after
            threading.Timer(AGAIN, _interrupt_main).start()
        else:
            hook(unraisable)

    def note(number: int, _frame: Any) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    with _handler(note):
        sys.unraisablehook = ignored
        try:
            yield lambda: _received[0] if _received else None
        finally:
            sys.unraisablehook = hook


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM came in the block.

    The first signal only sets this flag, the second raises KeyboardInterrupt.
    """
    pressed = threading.Event()

    def note(number: int, _frame: Any) -> None:
        _received.append(number)
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    with _handler(note):
        yield pressed.is_set


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block as Ctrl-C does once it takes longer, and raise TimeoutError.

    Only the main thread can be interrupted; in another one there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    expired = threading.Event()

    def interrupt() -> None:
        expired.set()
        _interrupt_main()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if not expired.is_set():
            raise
        _received.clear()
        raise TimeoutError(f"took longer than {seconds:g} s") from None
    finally:
        timer.cancel()


@contextlib.contextmanager
def _handler(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle the signals in the block; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in SIGNALS]
    try:
        yield
    finally:
        for number, old in zip(SIGNALS, before, strict=True):
            signal.signal(number, old)
