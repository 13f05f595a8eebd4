"""Show how far a stage has come: a bar on a terminal, now and then a line elsewhere.

Everything goes to stderr, so that stdout stays for what a command answers.
``RGB2ACT_QUIET=1`` silences it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 10.0  # seconds between plain lines
PERIOD = 600.0  # seconds that a bar's speed is taken from; large models take long for a batch
_clock = time.monotonic
_live: Progress | None = None  # the bars on the screen: rich draws one group at a time

Advance = Callable[..., None]


def say(message: str) -> None:
    """Print one line to stderr, above the bars if there are any."""
    if not _quiet():
        console = _live.console if _live else Console(stderr=True)
        console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def task(title: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show a task of ``total`` units while the block runs, ``done`` of them finished before.

    Yields ``advance(n=1, **shown)``, which counts n units and shows the values beside the bar.
    Tasks may be nested. However the block ends, the terminal is left clean.
    """
    if _quiet():
        yield lambda n=1, **shown: None
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
        row = bars.add_task(title, total=total, completed=done, unit=unit, shown="")

        def advance(n: int = 1, **shown: object) -> None:
            bars.advance(row, n)
            if shown:
                bars.update(row, shown=_values(shown))

        try:
            yield advance
        finally:
            bars.stop_task(row)


@contextmanager
def _bars() -> Iterator[Progress]:
    """Lend the group of bars on the screen, or put one there and take it away at the end."""
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
        TextColumn("{task.fields[shown]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=False,  # answers on stdout stay untouched
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
        text = "" if speed is None else _rate(speed, task.fields["unit"])
        return Text(text, style="progress.data.speed")


@contextmanager
def _lines(title: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    began = told = _clock()
    count, last = done, ""
    say(f"{title}: {done:,}/{total:,} {unit}")

    def speed(now: float) -> float:
        return (count - done) / max(now - began, 1e-9)

    def advance(n: int = 1, **shown: object) -> None:
        nonlocal count, told, last
        count, now = count + n, _clock()
        last = f", {_values(shown)}" if shown else last
        if now - told >= EVERY and count < total:
            told, rate = now, speed(now)
            left = f", {_time((total - count) / rate)} left" if rate else ""
            say(f"{title}: {count:,}/{total:,} {unit}, {_rate(rate, unit)}{left}{last}")

    word = "stopped after"
    try:
        yield advance
        word = "in"
    finally:
        now = _clock()
        rate = f", {_rate(speed(now), unit)}" if count > done else ""
        say(f"{title}: {count:,}/{total:,} {unit} {word} {_time(now - began)}{rate}{last}")


def _values(shown: dict[str, object]) -> str:
    texts = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in shown.values())
    return ", ".join(f"{name} {text}" for name, text in zip(shown, texts, strict=True))


def _rate(speed: float, unit: str) -> str:
    digits = 0 if speed >= 100 else 1 if speed >= 1 else 3
    return f"{speed:,.{digits}f} {unit}/s"


def _time(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
