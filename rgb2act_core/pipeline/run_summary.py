"""A run in a few numbers, and what distinguishes its spec: for lists and comparisons of runs.

No plugin is needed, and a damaged record or stage never hides the other runs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..store.files import read_json
from ..store.run_file import RunFile, StageRecord, read_run_file, root_of
from ..store.run_folders import RunId, all_runs, before
from ..store.run_marks import is_under_way
from ..store.stage_id import Stage, StageId
from ..store.unneeded import size_of
from .finished_run import SuccessRate, success_rate_of
from .spec_differences import differences, shown

ACT = StageId(Stage.ACT)


@attrs.frozen
class Change:
    """A key of a spec and its value in two runs; None where the key is absent."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {shown(self.old)} -> {shown(self.new)}"


@attrs.frozen(kw_only=True)
class RunSummary:
    """What lists and comparisons show of one run."""

    id: RunId
    folder: Path
    state: str
    """``finished``, ``under way``, ``stopped after STAGE``, ``not started``, or why it is
    unreadable."""
    record: RunFile | None = None
    changes: tuple[Change, ...] = ()
    """What the spec changed of the run before with this name."""
    results: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """Results of the evaluation; empty without one."""
    bytes: int = 0
    """Size of the stages' folders, which runs share."""

    @property
    def success(self) -> SuccessRate | None:
        """The success rate of the run's policy; None if it was not evaluated."""
        return success_rate_of(self.results) if self.results else None

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """The recorded stages."""
        return self.record.stages if self.record else ()

    @property
    def seconds(self) -> float:
        """Wall time of the stages when they ran."""
        return sum(stage.seconds for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        success = self.success
        return {
            "run": str(self.id),
            "folder": str(self.folder),
            "created": self.record.created if self.record else None,
            "state": self.state,
            "changes": [attrs.asdict(change) for change in self.changes],
            "stages": [str(stage.id) for stage in self.stages],
            "success": attrs.asdict(success) if success else None,
            "seconds": round(self.seconds, 2),
            "bytes": self.bytes,
        }


def summaries(root: Path, name: str | None = None) -> list[RunSummary]:
    """Return the runs in a root, or those of one name, sorted by name and number."""
    found: list[RunSummary] = []
    size = functools.cache(size_of)  # runs share most of their folders
    earlier: dict[str, RunFile | None] = {}
    for id, folder in all_runs(root).items():
        if name is None or id.name == name:
            found.append(_summary(folder, earlier.get(id.name), size))
            earlier[id.name] = found[-1].record
    return found


def summary(folder: Path) -> RunSummary:
    """Return the summary of the run in a folder."""
    earlier = None
    for path in before(folder)[:1]:
        with contextlib.suppress(UserError):
            earlier = read_run_file(path)
    return _summary(folder, earlier, size_of)


def _summary(folder: Path, earlier: RunFile | None, size: Callable[[Path], int]) -> RunSummary:
    id, under_way = RunId.of(folder), is_under_way(folder)
    try:
        record = read_run_file(folder)
    except UserError as err:
        return RunSummary(id=id, folder=folder, state=str(err))
    root = root_of(folder, record)
    return RunSummary(
        id=id,
        folder=folder,
        state="under way" if under_way else _state(record),
        record=record,
        changes=tuple(spec_changes(earlier.spec, record.spec)) if earlier else (),
        results=_results(root, record),
        bytes=sum(size(root / path) for path in {stage.path for stage in record.stages}),
    )


def _state(record: RunFile) -> str:
    if record.finished:
        return "finished"
    return f"stopped after {record.stages[-1].id}" if record.stages else "not started"


def _results(root: Path, record: RunFile) -> Mapping[str, Any]:
    """Return the results of a run's evaluation; empty if there are none or they are damaged."""
    path = next((stage.path for stage in record.stages if stage.id == ACT), None)
    if path is None:
        return {}
    with contextlib.suppress(UserError):
        results = read_json(root / path / "stage.json").get("results")
        if isinstance(results, dict) and {"interval", "episodes", "rate"} <= results.keys():
            return results
    return {}


def spec_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return the keys in which two specs differ; elements of lists are numbered, the first is 0."""
    return [Change(found.key, *found.values) for found in differences([old, new])]
