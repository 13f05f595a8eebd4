"""Read ``run.json`` and the results of each stage; damaged results become notes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..store.files import read_json
from ..store.stage_id import Stage, StageId

_WITH_RESULTS = (Stage.ALIGN, Stage.TRAIN, Stage.ACT)


@attrs.frozen(kw_only=True)
class StageResults:
    """One stage of a run: its entry in ``run.json`` and the results of its ``stage.json``."""

    id: StageId
    folder: Path
    entry: Mapping[str, Any]
    results: Mapping[str, Any]
    problem: str = ""  # why there are no results

    @property
    def is_baseline(self) -> bool:
        """Whether a baseline, not the run's own policy, was trained or evaluated."""
        return bool(self.id.variant) and self.id.stage in _WITH_RESULTS

    @property
    def policy_name(self) -> str:
        """Which policy was trained or evaluated."""
        return self.id.variant or "policy of this run"


Stages = Mapping[StageId, StageResults]


def read_record(run: Path) -> dict[str, Any]:
    """Return the content of ``run.json``. Raises UserError if it is missing or damaged."""
    path = run / "run.json"
    record = read_json(path)
    for key, kind in (("name", str), ("stages", list), ("spec", dict)):
        if not isinstance(record.get(key), kind):
            raise UserError(f"{path}: {key} is missing or damaged; delete it and run again")
    return record


def read_stages(run: Path, record: Mapping[str, Any]) -> dict[StageId, StageResults]:
    """Return the stages of ``run.json``, in order. Raises UserError for an unknown stage.

    Paths of stages are relative to the folder of all runs.
    """
    stages = (_read_stage(run, entry) for entry in record["stages"])
    return {stage.id: stage for stage in stages}


def _read_stage(run: Path, entry: Any) -> StageResults:
    try:
        id = StageId.parse(entry["stage"])
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise UserError(
            f"{run / 'run.json'}: stage {entry!r} is unknown; delete it and run again"
        ) from err
    folder, results, problem = run.parent / str(entry.get("path", "")), None, ""
    if id.stage in _WITH_RESULTS:
        try:
            results = read_json(folder / "stage.json").get("results")
        except UserError as err:
            problem = str(err)
    return StageResults(
        id=id,
        folder=folder,
        entry=entry,
        results=results if isinstance(results, dict) else {},
        problem=problem,
    )
