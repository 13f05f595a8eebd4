"""Tell on a run's page how each of several tasks went: acting, plans held out, alignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from . import charts
from .html import number, percent, table


def show(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of what stages, by name, say of each task; empty where there is one task."""
    return "".join(part for part in (_acted(results), _trained(results), _aligned(results)) if part)


def _of(results: Mapping[str, Mapping[str, Any]], kind: str) -> Iterator[tuple[str, str, Any, int]]:
    """Yield policy, task, what a stage says of it, and its episodes."""
    for stage, found in results.items():
        first, _, baseline = stage.partition("/")
        if first == kind:
            for task, said in found.get("tasks", {}).items():
                tries = sum(e.get("task") == task for e in found.get("episodes", ()))
                yield baseline or "policy of this run", task, said, tries


def _acted(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(policy),
            escape(task),
            f"<b>{percent(said['rate'])}</b>",
            charts.bar(said["rate"], tuple(said["interval"]), policy == "policy of this run"),
            " to ".join(percent(end) for end in said["interval"]),
            f"{int(said['successes'])} of {tries}",
        ]
        for policy, task, said, tries in _of(results, "act")
    ]
    headings = ("policy", "task", "#success", "", "#95 % interval", "#seeds")
    return table(headings, rows) if rows else ""


def _trained(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [escape(policy), escape(task), number(said["action_rmse"]), number(said["loss"])]
        for policy, task, said, _ in _of(results, "train")
    ]
    headings = ("policy", "task", "#RMSE of actions, held out", "#loss, held out")
    return table(headings, rows) if rows else ""


def _aligned(results: Mapping[str, Mapping[str, Any]]) -> str:
    tasks = results.get("align", {}).get("tasks", {})
    if not tasks:
        return ""
    names = list(next(iter(tasks.values()))["after"])
    rows = [
        [
            escape(name),
            *(
                f"{number(said['before'].get(name))} to {number(said['after'].get(name))}"
                for said in tasks.values()
            ),
        ]
        for name in names
    ]
    headings = ("alignment, before and after", *(f"#{escape(task)}" for task in tasks))
    return table(headings, rows)
