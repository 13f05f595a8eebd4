"""Choose the folder of a run: the number of its spec, or the next one of its name."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..errors import UserError
from .disk_errors import is_read_only
from .files import atomic_folder, write_text
from .locks import locked
from .run_folders import NUMBER, UNNUMBERED

LAST = "last-number"  # file of a name: the number of a removed run is not given again
IDENTITY = "identity"  # file with a digest of the spec, so that a damaged record keeps its number


def claim(root: Path, name: str, identity: str) -> Path:
    """Return the folder of the run with this identity; a new one has the next number.

    Processes that start different specs of one name at the same time get different numbers, and
    with the same spec one number.
    """
    parent = root / name
    if (known := _with_identity(parent, identity)) and _last(parent) >= int(known.name):
        return known  # without a lock: the disk may be read-only
    try:
        return _claim(parent, identity)
    except UserError as err:
        if known and is_read_only(err):
            return known
        raise


def _claim(parent: Path, identity: str) -> Path:
    """Return the folder with this identity, and record its number if it is the newest."""
    with locked(parent / "numbers.lock"):
        folder = _with_identity(parent, identity)
        if folder is None:
            number = max(_last(parent), *_folders(parent), UNNUMBERED) + 1
            folder = parent / str(number)
            with atomic_folder(folder) as temporary:
                (temporary / IDENTITY).write_text(identity, encoding="utf-8")
        if int(folder.name) > _last(parent):
            write_text(parent / LAST, folder.name)
    return folder


def _last(parent: Path) -> int:
    """Return the number of the newest run, which may have been removed; 0 if it is unknown."""
    with contextlib.suppress(OSError, ValueError):
        return int((parent / LAST).read_text(encoding="utf-8"))
    return UNNUMBERED


def _with_identity(parent: Path, identity: str) -> Path | None:
    for folder in _folders(parent).values():
        with contextlib.suppress(OSError, ValueError):
            if (folder / IDENTITY).read_text(encoding="utf-8") == identity:
                return folder
    return None


def _folders(parent: Path) -> dict[int, Path]:
    """Return the numbered folders, those without a record included."""
    if not parent.is_dir():
        return {}
    return {int(path.name): path for path in parent.iterdir() if NUMBER.fullmatch(path.name)}
