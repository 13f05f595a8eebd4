"""Where tables are printed: as wide as the terminal, or complete in a file or pipe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 10_000  # characters of a line in a file or pipe


def open_console(*, stderr: bool = False) -> Console:
    """Return a console for tables on stdout or stderr.

    In a file or pipe, cells are not wrapped or cut unless ``COLUMNS`` sets a width.
    """
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(stderr=stderr, highlight=False, width=UNLIMITED)
