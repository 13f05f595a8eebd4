"""The folder of all runs: whether it can be written, and what killed processes left in it."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .disk_errors import OTHER_ROOT, guard
from .files import sweep_files
from .locks import sweep_locks

# folders of the store that hold files of their own, and folders of entries with such files
_SWEPT = ("*", "episodes/*", "features/*", "embeddings/*", "seeds/*")


def resolved(root: Path) -> Path:
    """Return the absolute path of ``root`` without symbolic links; UserError if it has none."""
    with guard(root):
        return root.resolve()


def check_root(root: Path) -> None:
    """Raise UserError if ``root`` is no folder and cannot become one; nothing is created."""
    with guard(root):
        found = existing(root)
    if not found.is_dir():
        raise UserError(f"{root}: {found} is not a folder; {OTHER_ROOT}")


def existing(path: Path) -> Path:
    """Return the path, or the closest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def open_root(root: Path) -> None:
    """Create the folder of all runs, and sweep temporary and lock files of killed processes.

    Raises UserError if the folder cannot be created.
    """
    check_root(root)
    with guard(root):
        root.mkdir(parents=True, exist_ok=True)
    for pattern in _SWEPT:
        for folder in (root / "store").glob(pattern):
            sweep_files(folder)
            sweep_locks(folder)
    sweep_locks(root / "store")
