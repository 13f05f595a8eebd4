"""``evaluations.json`` of a run: evaluations of its policy with other seeds or settings.

The run's own evaluation is a stage of ``run.json``. Readers of the store count both as in use.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .disk_errors import is_read_only
from .files import read_json, write_record

EVALUATIONS = "evaluations.json"


def read_evaluations(run: Path) -> tuple[str, ...]:
    """Return the paths of a run's further evaluations, relative to the folder of all runs.

    They are in the order in which they were first made. Raises UserError if the file is damaged.
    """
    path = run / EVALUATIONS
    if not path.exists():
        return ()
    found = read_json(path).get("evaluations")
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise UserError(f"{path}: damaged; delete it and evaluate again")
    return tuple(found)


def add_evaluation(run: Path, path: str) -> None:
    """Record an evaluation, unless it is recorded or the disk is read-only."""
    known = read_evaluations(run)
    if path in known:
        return
    try:
        write_record(run / EVALUATIONS, {"evaluations": [*known, path]})
    except UserError as err:
        if not is_read_only(err):
            raise
