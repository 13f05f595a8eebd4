"""Open a run by its folder: what it was asked, what it recorded, what it learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.dataset import Dataset
from ..errors import UserError
from ..spec import Spec
from ..spec.reader import structure
from ..stages.tasks import Tasks, dataset_of, open_tasks
from ..store.files import read_json
from ..store.run import Run


def read_run(folder: Path) -> tuple[Run, dict[str, Any]]:
    """Return the run of a folder and its record."""
    if not (folder / "run.json").exists():
        raise UserError(f"{folder}: no run.json; name the folder of a run, such as runs/NAME")
    record = read_json(folder / "run.json")
    spec = structure(Spec, record.get("spec"))
    return Run(spec=spec, root=folder.resolve().parent), record


def stage_folder(folder: Path, record: dict[str, Any], stage: str) -> Path:
    """Return where a stage of a run lies; raise UserError when it is not done."""
    paths = [s["path"] for s in record.get("stages", []) if s.get("stage") == stage]
    if not paths:
        raise UserError(f"{folder}: has no stage {stage!r} yet; finish the run first")
    return folder.resolve().parent / str(paths[0])


def open_run(folder: Path) -> tuple[Run, dict[str, Any], Tasks, Dataset]:
    """Return the run of a folder, its record, tasks and data set."""
    run, record = read_run(folder)
    tasks = open_tasks(run)
    data = dataset_of(tasks)
    if data is None:
        raise UserError(f"{folder}: its demonstrations are not all there; run the spec again")
    return tasks.run, record, tasks, data
