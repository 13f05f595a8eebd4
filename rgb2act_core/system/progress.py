"""Progress on stderr: bars on a terminal, otherwise a line every ten seconds.

Stdout is reserved for the results of a command. ``RGB2ACT_QUIET=1`` turns progress off, and
``RGB2ACT_PROGRESS=json`` prints it as JSON, one object a line, which docs/json.md describes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from . import progress_json
from .formatting import format_duration, format_rate
from .progress_json import Advance

EVERY = 10.0  # seconds between plain lines
PERIOD = 600.0  # seconds over which a bar averages its rate; large models need long for a batch
SHORTEST = 0.1  # seconds; units that end within less have no meaningful rate
NARROW, WIDE = 80, 100  # columns of a terminal below which the bar is left out, or shorter
QUIET = "RGB2ACT_QUIET"  # an environment variable, as worker processes print progress too
_clock = time.monotonic
_live: Progress | None = None  # the bars on the screen; rich allows one group at a time


def say(message: str) -> None:
    """Print a line to stderr, above the progress bars if there are any."""
    if progress_json.is_on():
        progress_json.message(message)
    elif not _quiet():
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
    if progress_json.is_on():
        with progress_json.task(title, total, unit, done) as advance:
            yield advance
    elif _quiet():
        yield lambda n=1, **values: None
    elif Console(stderr=True).is_terminal:
        with _bar(title, total, unit, done) as advance:
            yield advance
    else:
        with _lines(title, total, unit, done) as advance:
            yield advance


@contextmanager
def quiet() -> Iterator[None]:
    """Print no progress in the block, and none in processes that are started in it."""
    before = {name: os.environ.get(name, "") for name in (QUIET, progress_json.VARIABLE)}
    os.environ |= {QUIET: "1", progress_json.VARIABLE: ""}
    try:
        yield
    finally:
        os.environ |= before


def _quiet() -> bool:
    return os.environ.get(QUIET, "") not in ("", "0")


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
    console = Console(stderr=True)
    _live = Progress(
        *_columns(console.width),
        console=console,
        redirect_stdout=False,  # results on stdout stay unchanged
        get_time=lambda: _clock(),
        speed_estimate_period=PERIOD,
    )
    try:
        with _live:
            yield _live
    finally:
        _live = None


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """Return what a bar shows, on one line of a terminal with ``width`` columns."""
    text = (
        TextColumn("{task.description}", markup=False, table_column=_one_line()),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}", table_column=_one_line()),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=_one_line()),
        TextColumn("{task.fields[values]}", markup=False, table_column=_one_line()),
    )
    if width < NARROW:
        return text
    bar = BarColumn(bar_width=28 if width >= WIDE else 10)
    return (text[0], bar, text[1], _Rate(table_column=_one_line()), *text[2:])


def _one_line() -> Column:
    return Column(no_wrap=True, overflow="ellipsis")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        known = speed is not None and (task.elapsed or 0.0) >= SHORTEST
        text = format_rate(speed, task.fields["unit"]) if speed is not None and known else ""
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
        known = count > done and now - start >= SHORTEST
        rate = f", {format_rate(speed(now), unit)}" if known else ""
        spent = format_duration(now - start)
        say(f"{title}: {count:,}/{total:,} {unit} {word} {spent}{rate}{suffix}")


def _format_values(values: dict[str, object]) -> str:
    texts = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.values())
    return ", ".join(f"{name} {text}" for name, text in zip(values, texts, strict=True))
