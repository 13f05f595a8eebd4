"""``run.json``: what is written is read back, and damaged files are errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core import UserError
from rgb2act_core.interfaces import Finding, Severity
from rgb2act_core.store.run_file import RunFile, StageRecord, read_run_file
from rgb2act_core.store.stage_id import Stage, StageId

ALIGN = StageRecord(id=StageId(Stage.ALIGN), key="abc", path="store/align/abc", cached=True)
BASELINE = StageRecord(
    id=StageId(Stage.ACT, "proprio_only"),
    key="def",
    path="store/act/def",
    cached=False,
    reason="no cached output",
    seconds=2.5,
    cpu_seconds=4.0,
)
CONTENT = RunFile(
    name="demo",
    version="0.1.0",
    created="2026-01-02T03:04:05+0000",
    spec={"name": "demo"},
    stages=(BASELINE,),
    earlier_stages=(ALIGN,),
    samples={"episode": "store/episodes/a/b"},
    environment={"python": "3.11.7"},
    findings=(
        Finding(
            severity=Severity.WARNING,
            rule="outlier",
            source="episode e1",
            frame=3,
            problem="joint1 is 50",
            remedy="leave it out",
        ),
    ),
)


def test_content_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(CONTENT.to_json()))
    assert read_run_file(tmp_path) == CONTENT


@pytest.mark.parametrize("samples", [{}, {"samples": None}])
def test_run_without_samples_and_earlier_stages(tmp_path: Path, samples: dict[str, Any]) -> None:
    data = CONTENT.to_json()
    del data["samples"], data["earlier_stages"]
    (tmp_path / "run.json").write_text(json.dumps(data | samples))
    assert read_run_file(tmp_path) == attrs.evolve(CONTENT, samples={}, earlier_stages=())


@pytest.mark.parametrize(
    "change",
    [
        {"stages": 3},
        {"stages": [3]},
        {"stages": [{"stage": "dream"}]},
        {"stages": [ALIGN.to_json() | {"seconds": "long"}]},
        {"spec": 3},
        {"samples": 3},
        {"earlier_stages": [{}]},
    ],
)
def test_damaged_file_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "run.json").write_text(json.dumps(CONTENT.to_json() | change))
    with pytest.raises(UserError, match=r"run\.json: damaged .*; delete it and run the spec again"):
        read_run_file(tmp_path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: no run\.json; name the folder of a run"):
        read_run_file(tmp_path / "nothing")
