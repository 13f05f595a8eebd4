"""Compare runs: what differs in their specs, and their success on the episodes they share.

The first run is the reference: the paired differences are those of the others to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..evaluation.paired_success import PairedDifference, outcomes, paired_difference
from ..store.run_file import read_run_file, root_of
from ..store.stage_id import Stage, StageId
from ..training import metrics_log
from .run_summary import RunSummary, summary
from .spec_differences import Difference, differences

CURVES = (
    ("Success rate in training", Stage.TRAIN, "act/success"),
    ("Loss of the policy", Stage.TRAIN, "loss"),
    ("Loss of the policy, held out", Stage.TRAIN, "val/loss"),
    ("Loss of the student", Stage.DISTILL, "loss"),
    ("Loss of the aligner", Stage.ALIGN, "loss"),
)  # title, stage and metric of each chart

Points = Sequence[tuple[float, float]]


@attrs.frozen(kw_only=True)
class Comparison:
    """Several runs next to each other."""

    runs: tuple[RunSummary, ...]
    names: tuple[str, ...]
    """A unique name of each run: ``name@number``, with its folder if two roots have the same."""
    differences: tuple[Difference, ...]
    paired: tuple[PairedDifference | None, ...]
    """Of each run but the first to the first; None if they share no episode."""
    curves: Mapping[str, Mapping[str, Points]]
    """Title of a chart, and the points of each run by name."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "runs": [
                each.to_json() | {"paired": attrs.asdict(pair) if pair else None}
                for each, pair in zip(self.runs, (None, *self.paired), strict=True)
            ],
            "differences": [
                {"key": found.key, "values": list(found.values)} for found in self.differences
            ],
        }


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare the runs in some folders, in this order. Raises UserError for a damaged record."""
    records = [read_run_file(folder) for folder in folders]
    runs = tuple(map(summary, folders))
    ids = [str(each.id) for each in runs]
    names = tuple(
        id if ids.count(id) == 1 else f"{id} in {folder.resolve()}"
        for id, folder in zip(ids, folders, strict=True)
    )
    found = [outcomes(each.results) if each.results else {} for each in runs]
    return Comparison(
        runs=runs,
        names=names,
        differences=tuple(differences([record.spec for record in records])),
        paired=tuple(paired_difference(found[0], other) for other in found[1:]),
        curves=_curves(dict(zip(names, folders, strict=True))),
    )


def _curves(folders: Mapping[str, Path]) -> dict[str, dict[str, Points]]:
    rows = {(name, stage): _rows(f, stage) for name, f in folders.items() for _, stage, _ in CURVES}
    charts: dict[str, dict[str, Points]] = {
        title: {name: _points(rows[name, stage], metric) for name in folders}
        for title, stage, metric in CURVES
    }
    return {title: series for title, series in charts.items() if any(series.values())}


def _points(rows: Sequence[metrics_log.Row], metric: str) -> Points:
    return [(row["step"], row[metric]) for row in rows if metric in row]


def _rows(folder: Path, stage: Stage) -> list[metrics_log.Row]:
    """Return the learning curves of a stage; empty if it did not run or the file is damaged."""
    record = read_run_file(folder)
    paths = [each.path for each in record.stages if each.id == StageId(stage)]
    with contextlib.suppress(UserError):
        if paths:
            return metrics_log.read(root_of(folder, record) / paths[0] / "metrics.jsonl")
    return []
