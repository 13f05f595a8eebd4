"""The folders of runs: ``root/<name>/<number>``, one for each distinct spec of a name.

Numbers start at 1. A spec that is run again keeps its number, and a changed spec gets the next one,
so no run overwrites another. ``root/<name>/run.json`` is a run of an earlier version, which had one
folder per name; it has number 0 and is only read.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import attrs

from ..errors import UserError
from .run_file import RECORD, read_run_file

STORE = "store"  # the folder of the root that is no run
UNNUMBERED = 0  # number of a run in a folder without number
NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)@(?P<number>0|[1-9][0-9]{0,8})")


@attrs.frozen(order=True)
class RunId:
    """The name and number of a run; the text form is ``name@number``."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> RunId | None:
        """Return the id that a text names; None if it has another form."""
        match = _NAME.fullmatch(text)
        return cls(match["name"], int(match["number"])) if match else None

    @classmethod
    def of(cls, folder: Path) -> RunId:
        """Return the id of the run in a folder."""
        folder = folder.resolve()
        if NUMBER.fullmatch(folder.name):
            return cls(folder.parent.name, int(folder.name))
        return cls(folder.name, UNNUMBERED)

    def folder(self, root: Path) -> Path:
        """Return the run's folder, which need not exist."""
        return root / self.name / (str(self.number) if self.number else "")


def numbered(folder: Path, *, strict: bool = False) -> dict[int, Path]:
    """Return the folders of a name's runs by number, in order; empty if there are none.

    With ``strict``, raises OSError for a folder that cannot be read, which may have runs.
    """
    found = {}
    # a missing folder, a name that is too long, a folder of another user
    with contextlib.suppress(NotADirectoryError if strict else OSError):
        if (folder / RECORD).is_file():
            found[UNNUMBERED] = folder
        for path in folder.iterdir():
            if NUMBER.fullmatch(path.name) and (path / RECORD).is_file():
                found[int(path.name)] = path
    return dict(sorted(found.items()))


def all_runs(root: Path, *, strict: bool = False) -> dict[RunId, Path]:
    """Return the folders of all runs in a root, sorted by name and number.

    With ``strict``, raises OSError for a folder that cannot be read, which may have runs.
    """
    try:
        names = sorted(path.name for path in root.iterdir() if path.name != STORE)
    except OSError:
        if strict:
            raise
        return {}
    return {
        RunId(name, number): folder
        for name in names
        for number, folder in numbered(root / name, strict=strict).items()
    }


def newest(folder: Path) -> Path | None:
    """Return a name's newest finished run, or else its newest; None if there is none."""
    runs = numbered(folder)
    for path in reversed(runs.values()):
        with contextlib.suppress(UserError):
            if read_run_file(path).finished:
                return path
    return next(reversed(runs.values()), None)


def before(folder: Path) -> list[Path]:
    """Return the runs of the same name with lower numbers, the next lower one first."""
    own = RunId.of(folder).number
    if not own:
        return []
    return [path for n, path in reversed(numbered(folder.parent).items()) if n < own]
