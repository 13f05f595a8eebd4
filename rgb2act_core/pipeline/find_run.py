"""The folder of a run, by its name, its name and number, or its folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError, did_you_mean
from ..store.run_folders import RunId, all_runs, newest, numbered
from ..system.default_root import default_root

SHOWN_NAMES = 5  # known names in a message
FORMS = "a run: its name, name@number or folder"


def run_folder(run: str | Path, root: str | Path | None = None) -> Path | None:
    """Return the folder of a run, or None. ``find_run`` describes how it is named."""
    root = Path(root or default_root())
    id = RunId.parse(str(run))
    if id and (path := numbered(root / id.name).get(id.number)):
        return path
    named, folder = newest(root / run), newest(Path(run))
    is_path = os.sep in str(run) or str(run) in (os.curdir, os.pardir)
    return folder or named if is_path else named or folder


def find_run(run: str | Path, root: str | Path | None = None) -> Path:
    """Return the folder of a run, such as ``runs/lift_pot/2``.

    ``run`` is one of: ``name@number``; a name, for its newest finished run, or else its newest; a
    run's folder; the folder of a name, for the same run as the name. ``root`` is the folder of all
    runs, by default ``RGB2ACT_ROOT`` or ``runs``; a name is that of a run in it before that of a
    folder. Raises UserError if there is no such run.
    """
    if folder := run_folder(run, root):
        return folder
    root = Path(root or default_root())
    id = RunId.parse(str(run))
    if id and (numbers := numbered(root / id.name)):
        known = ", ".join(map(str, numbers))
        raise UserError(f"{run}: no such run; {id.name} has {known}")
    if Path(run).is_file():
        raise UserError(f"{run}: is a file; give {FORMS}")
    raise UserError(f"{run}: no such run{near_run(str(run), root)}")


def near_run(word: str, root: Path) -> str:
    """Return what to do about a word that names no run: the similar name, or those there are."""
    names = sorted({id.name for id in all_runs(root)})
    if hint := did_you_mean(word.partition("@")[0], names):
        return hint
    if not names:
        return f"; {root} has no runs, give another --root"
    more = ", ..." if len(names) > SHOWN_NAMES else ""
    return f"; {root} has {', '.join(names[:SHOWN_NAMES])}{more}"
