"""Marks of the processes that work on a run: one lock file for each in the run's folder.

They exclude nobody. They show which runs are under way, also from other hosts.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .disk_errors import is_read_only
from .locks import is_held, locked, sweep_locks

_PATTERN = "running-*.lock"


@contextlib.contextmanager
def under_way(folder: Path) -> Iterator[None]:
    """Mark a run as under way until the block ends; a read-only disk stays unmarked."""
    sweep_locks(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / f"running-{secrets.token_hex(4)}.lock"))
        except UserError as err:
            if not is_read_only(err):
                raise
        yield


def is_under_way(folder: Path) -> bool:
    """Return whether a process works on a run."""
    return any(map(is_held, folder.glob(_PATTERN)))
