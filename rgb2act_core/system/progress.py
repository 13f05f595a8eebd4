"""Progress on stderr: bars on a terminal, otherwise a line every ten seconds.

Stdout is reserved for the results of a command. ``RGB2ACT_QUIET=1`` turns progress off.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from .formatting import format_duration, format_rate

EVERY = 10.0  # seconds between plain lines
PERIOD = 600.0  # seconds over which a bar averages its rate; large models need long for a batch
_clock = time.monotonic
_live: Progress | None = None  # the bars on the screen; rich allows one group at a time

Advance = Callable[..., None]


def say(message: str) -> None:
    """Print a line to stderr, above the progress bars if there are any."""
    if not _quiet():
        console = _live.console if _live else Console(stderr=True)
        with contextlib.suppress(OSError):  # progress that can't be printed stops no run
            console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show the progress of a task of ``total`` units while the block runs.

    ``done`` units were finished before, as in a resumed stage. Yields ``advance(n=1, **values)``,
    which adds n units and shows the values, such as ``loss=0.5``, next to the bar. Tasks can be
    nested. The terminal is restored however the block ends.
    """
    if _quiet():
        yield lambda n=1, **values: None
    elif Console(stderr=True).is_terminal:
        with _bar(title, total, unit, done) as advance:
            yield advance
    else:
        with _lines(title, total, unit, done) as advance:
            yield advance


def _quiet() -> bool:
    return os.environ.get("RGB2ACT_QUIET", "") not in ("", "0")


@contextmanager
def _bar(title: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    with _bars() as bars:
        row = bars.add_task(title, total=total, completed=done, unit=unit, values="")

        def advance(n: int = 1, **values: object) -> None:
            bars.advance(row, n)
            if values:
                bars.update(row, values=_format_values(values))

        try:
            yield advance
        finally:
            bars.stop_task(row)


@contextmanager
def _bars() -> Iterator[Progress]:
    """Yield the group of bars on the screen, creating it for the outermost task."""
    global _live
    if _live:
        yield _live
        return
    _live = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[values]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=False,  # results on stdout stay unchanged
        get_time=lambda: _clock(),
        speed_estimate_period=PERIOD,
    )
    try:
        with _live:
            yield _live
    finally:
        _live = None


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        text = "" if speed is None else format_rate(speed, task.fields["unit"])
        return Text(text, style="progress.data.speed")


@contextmanager
def _lines(title: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    start = last_line = _clock()
    count, suffix = done, ""
    say(f"{title}: {done:,}/{total:,} {unit}")

    def speed(now: float) -> float:
        return (count - done) / max(now - start, 1e-9)

    def advance(n: int = 1, **values: object) -> None:
        nonlocal count, last_line, suffix
        count, now = count + n, _clock()
        suffix = f", {_format_values(values)}" if values else suffix
        if now - last_line >= EVERY and count < total:
            last_line, rate = now, speed(now)
            left = f", {format_duration((total - count) / rate)} left" if rate else ""
            say(f"{title}: {count:,}/{total:,} {unit}, {format_rate(rate, unit)}{left}{suffix}")

    word = "stopped after"
    try:
        yield advance
        word = "in"
    finally:
        now = _clock()
        rate = f", {format_rate(speed(now), unit)}" if count > done else ""
        spent = format_duration(now - start)
        say(f"{title}: {count:,}/{total:,} {unit} {word} {spent}{rate}{suffix}")


def _format_values(values: dict[str, object]) -> str:
    texts = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name} {text}" for name, text in zip(values, texts, strict=True))
