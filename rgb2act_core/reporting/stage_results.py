"""The results of each stage of a run; damaged results become notes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..store.files import read_json
from ..store.run_file import RunFile, StageRecord
from ..store.stage_id import Stage, StageId

_WITH_RESULTS = (Stage.ALIGN, Stage.TRAIN, Stage.ACT)


@attrs.frozen(kw_only=True)
class StageResults:
    """One stage of a run: its record in ``run.json`` and the results of its ``stage.json``."""

    id: StageId
    folder: Path
    record: StageRecord
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


def read_stages(run: Path, record: RunFile) -> dict[StageId, StageResults]:
    """Return the stages of a run, in order. Their paths are relative to the folder of all runs."""
    return {stage.id: _read_stage(run.parent / stage.path, stage) for stage in record.stages}


def _read_stage(folder: Path, record: StageRecord) -> StageResults:
    results, problem = None, ""
    if record.id.stage in _WITH_RESULTS:
        try:
            results = read_json(folder / "stage.json").get("results")
        except UserError as err:
            problem = str(err)
    return StageResults(
        id=record.id,
        folder=folder,
        record=record,
        results=results if isinstance(results, dict) else {},
        problem=problem,
    )
