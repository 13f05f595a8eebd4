"""``run.json``: what it records, and damaged records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.run_record import RunRecord, read_run
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.run import Run
from rgb2act_core.store.run_file import StageRecord
from rgb2act_core.store.stage_id import Stage, StageId

ALIGN, TRAIN = StageId(Stage.ALIGN), StageId(Stage.TRAIN)
RAN = StageRecord(
    id=TRAIN,
    key="abc",
    path="store/policy/abc",
    cached=False,
    reason="no cached output",
    seconds=3.5,
    cpu_seconds=7.0,
)


@pytest.fixture
def run(spec_file: Callable[..., Path], puppet: None, tmp_path: Path) -> Run:
    """Return a run without a record."""
    return Run(spec=read_spec(spec_file()), root=tmp_path)


def test_stages_are_read_as_they_were_added(run: Run) -> None:
    record = RunRecord(run)
    align = attrs.evolve(RAN, id=ALIGN, path="store/align/abc")
    record.add(align)
    record.add(RAN)
    recorded = read_run(run.folder)
    assert recorded.run == run
    assert recorded.stages == {ALIGN: align, TRAIN: RAN}
    assert recorded.stage_folder(TRAIN) == run.root / "store/policy/abc"


@pytest.mark.parametrize(("key", "seconds"), [("abc", 3.5), ("def", 0.1)])
def test_cached_stage_keeps_the_times_of_the_run_with_the_same_key(
    run: Run, key: str, seconds: float
) -> None:
    RunRecord(run).add(RAN)
    RunRecord(run).add(attrs.evolve(RAN, key=key, cached=True, reason="", seconds=0.1))
    assert read_run(run.folder).stages[TRAIN].seconds == seconds


def test_stages_of_earlier_commands_are_known_but_not_part_of_the_run(run: Run) -> None:
    RunRecord(run).add(RAN)
    record = RunRecord(run)
    record.add(attrs.evolve(RAN, id=ALIGN))
    assert record.previous == {TRAIN: RAN}
    assert list(read_run(run.folder).stages) == [ALIGN]
    assert RunRecord(run).previous.keys() == {ALIGN, TRAIN}


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"stages": 3}', '{"stages": [{"stage": 1}]}']
)
def test_damaged_record_is_ignored_by_the_next_run(run: Run, content: str) -> None:
    RunRecord(run).add(RAN)
    (run.folder / "run.json").write_text(content)
    assert RunRecord(run).previous == {}


def test_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: no run\.json; name the folder of a run"):
        read_run(tmp_path / "nothing")


def test_damaged_stages_are_an_error(run: Run) -> None:
    RunRecord(run).add(RAN)
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    record["stages"][0]["stage"] = "dream"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"run\.json: damaged .*dream.*; delete it"):
        read_run(run.folder)


def test_stage_that_was_not_reached_is_an_error(run: Run) -> None:
    RunRecord(run).add(RAN)
    with pytest.raises(UserError, match="has no stage 'align' yet; finish the run first"):
        read_run(run.folder).stage_folder(ALIGN)
