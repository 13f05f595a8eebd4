"""Loggers receive the numbers of a stage's results, and what cannot be read stops no run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core import Component
from rgb2act_core.interfaces import LoggedStage
from rgb2act_core.pipeline.logged_results import result_values, send_stage
from rgb2act_core.spec import LoggerChoice
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.stage_folder import StageFolder
from rgb2act_core.store.stage_id import Stage, StageId
from rgb2act_core.tracking.tracker import Tracker

EXAMPLE = Path(__file__).parents[2] / "examples/smoke.toml"


def test_results_are_named_by_their_path() -> None:
    results = {"steps": 60, "after": {"retrieval@1": 0.5}, "closed_loop": {"best": {"step": 3}}}
    expected = {"steps": 60.0, "after/retrieval@1": 0.5, "closed_loop/best/step": 3.0}
    assert dict(result_values(results)) == expected


def test_success_has_its_interval_also_in_each_task() -> None:
    rate = {"rate": 0.5, "interval": [0.1, 0.9]}
    assert dict(result_values({**rate, "tasks": {"reach": rate}})) == {
        "success_rate": 0.5,
        "success_low": 0.1,
        "success_high": 0.9,
        "tasks/reach/success_rate": 0.5,
        "tasks/reach/success_low": 0.1,
        "tasks/reach/success_high": 0.9,
    }


def test_values_that_are_no_finite_numbers_are_left_out() -> None:
    assert dict(result_values({"a": math.nan, "b": [1, 2], "c": None, "d": "x"})) == {}


class Discarding:
    """A logger that notes the stages."""

    replays = False

    def __init__(self, stages: list[LoggedStage]) -> None:
        self.stages = stages

    def start(self, run: Any) -> None: ...

    def log_metrics(self, stage: str, step: int, values: Any) -> None: ...

    def log_stage(self, stage: LoggedStage) -> None:
        self.stages.append(stage)

    def finish(self, complete: bool) -> None: ...


@attrs.frozen(kw_only=True)
class Options:
    pass


def test_a_damaged_curve_of_a_cached_stage_is_reported_and_stops_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages: list[LoggedStage] = []
    build = lambda config: Discarding(stages)  # noqa: E731 the component's only function
    component = Component(name="notes", config=Options, build=build, tiny=Options())
    choice = LoggerChoice(component=component, config=Options())
    spec = attrs.evolve(read_spec(EXAMPLE), log=(choice,))
    for stage, curve in ((Stage.ALIGN, "{\n"), (Stage.TRAIN, '{"step": 0, "loss": 1.0}\n')):
        target = StageFolder.of(tmp_path / "store" / stage, {"stage": stage})
        (target.open() / "metrics.jsonl").write_text(curve)
        target.commit(seconds=1.0, cpu_seconds=1.0, results={"steps": 1})
        with Tracker(spec, tmp_path / "run", tmp_path) as tracker:
            send_stage(tracker, StageId(stage), target)
    assert [stage.name for stage in stages] == ["train"]
    error = capsys.readouterr().err
    assert error.startswith("warning: align is not logged: ")
    assert "metrics.jsonl:1: not a JSON line" in error
