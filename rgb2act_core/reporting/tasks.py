"""Results of each of several tasks: success rates, held-out action errors, alignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..store.stage_id import Stage, StageId
from .blocks import Block, Cell, Styled, Table
from .charts import bar
from .formats import number, percent
from .stage_results import StageResults, Stages


def tables(stages: Stages) -> Iterator[Block]:
    """Yield a table per kind of result; stages of a single task have none."""
    yield from _success_table(stages)
    yield from _training_table(stages)
    yield from _alignment_table(stages)


def _results(stages: Stages, kind: Stage) -> Iterator[tuple[StageResults, str, Mapping[str, Any]]]:
    """Yield each stage of a kind, each of its tasks, and the task's results."""
    for stage in stages.values():
        if stage.id.stage is kind:
            for task, results in stage.results.get("tasks", {}).items():
                yield stage, task, results


def _success_table(stages: Stages) -> Iterator[Table]:
    def row(stage: StageResults, task: str, results: Mapping[str, Any]) -> list[Cell]:
        low, high = results["interval"]
        episodes = [e for e in stage.results.get("episodes", ()) if e.get("task") == task]
        return [
            stage.policy_name,
            task,
            Styled(percent(results["rate"]), "bold"),
            bar(results["rate"], (low, high), not stage.is_baseline),
            f"{percent(low)} to {percent(high)}",
            f"{int(results['successes'])} of {len(episodes)}",
        ]

    headings = ("policy", "task", "#success", "", "#95 % interval", "#seeds")
    if rows := [row(*found) for found in _results(stages, Stage.ACT)]:
        yield Table(headings, rows)


def _training_table(stages: Stages) -> Iterator[Table]:
    rows = [
        [stage.policy_name, task, number(results["action_rmse"]), number(results["loss"])]
        for stage, task, results in _results(stages, Stage.TRAIN)
    ]
    if rows:
        yield Table(("policy", "task", "#action RMSE, held out", "#loss, held out"), rows)


def _alignment_table(stages: Stages) -> Iterator[Table]:
    align = stages.get(StageId(Stage.ALIGN))
    tasks = align.results.get("tasks", {}) if align else {}
    if not tasks:
        return
    names = list(next(iter(tasks.values()))["after"])
    rows = [
        [
            name,
            *(
                f"{number(results['before'].get(name))} to {number(results['after'].get(name))}"
                for results in tasks.values()
            ),
        ]
        for name in names
    ]
    yield Table(("alignment, before and after", *(f"#{task}" for task in tasks)), rows)
