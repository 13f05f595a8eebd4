"""One stage's work: announced, done in its folder, committed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..store.files import guard
from ..store.stage_folder import StageFolder
from ..system.progress import say
from .run_record import Timer


def finish(
    stage: str, target: StageFolder, timer: Timer, work: Callable[[Path], dict[str, Any]]
) -> None:
    """Do a stage's work in its folder, and commit it."""
    folder = target.open()
    with timer.measure(), guard(folder), _noted(stage):
        results = work(folder)
    target.commit(seconds=timer.seconds, cpu_seconds=timer.cpu_seconds, results=results)


@contextlib.contextmanager
def _noted(stage: str) -> Iterator[None]:
    """Add the stage to the traceback of a bug."""
    try:
        yield
    except UserError:
        raise
    except Exception as err:
        err.add_note(f"in stage {stage}")
        raise


def announce(stage: str, reason: str) -> None:
    """Say that a stage runs and why, or, without a reason, that it is cached."""
    say(f"{stage}: {f'runs, {reason}' if reason else 'cached'}")


def show_curves(curves: Path, board: Path, title: str) -> None:
    """Write the event files of a stage that another run has done."""
    if curves.exists() and not (board / title).exists():
        from ..training import metrics_log

        metrics_log.export(curves, board, title)
