"""The folder of a run, by path or by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..errors import UserError
from ..store.run_file import RECORD


def run_folder(run: str | Path, root: str | Path = "runs") -> Path | None:
    """Return the folder of a run, named by its folder or by its name under ``root``, or None."""
    for folder in (Path(run), Path(root) / run):
        with contextlib.suppress(OSError):  # such as a name that is too long
            if (folder / RECORD).is_file():
                return folder
    return None


def find_run(run: str | Path, root: str | Path = "runs") -> Path:
    """Return the folder of a run, named by its folder or by its name under ``root``.

    Raises UserError if there is none.
    """
    if folder := run_folder(run, root):
        return folder
    raise UserError(
        f"{run}: no such run; give the folder of a run, or its name and --root ({root} has no"
        f" {run}/{RECORD})"
    )
