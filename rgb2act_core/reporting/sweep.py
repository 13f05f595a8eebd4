"""The results of a sweep: one row per combination, pooled over its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..evaluation.success_rate import over_seeds, wilson
from ..store.files import write_text
from .blocks import Block, Cell, Fact, Page, Section, Styled, Table, note
from .charts import bar
from .formats import percent
from .page import render_page

SEED = "seed"  # the key over whose values a row is pooled


@attrs.frozen(kw_only=True)
class SweepRun:
    """One combination of a sweep; ``results`` are those of its act stages, by stage."""

    values: Mapping[str, str]
    run: str  # folder; empty if it failed
    results: Mapping[str, Any]
    error: str = ""


@attrs.frozen(kw_only=True)
class SweepRow:
    """The success of one policy of a combination, pooled over seeds."""

    values: Mapping[str, str]  # without the seed
    policy: str  # the stage: ``act``, or ``act/CONDITION`` for a baseline
    seeds: tuple[str, ...]
    rates: tuple[float, ...]  # of each seed
    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Success rate over the episodes of all seeds."""
        return self.successes / max(self.episodes, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the success rate, over the episodes of all seeds."""
        return wilson(self.successes, self.episodes)

    @property
    def seed_interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds; None with a single seed."""
        return over_seeds(self.rates)

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        over = None if self.seed_interval is None else list(self.seed_interval)
        return attrs.asdict(self) | {
            "rate": self.rate,
            "interval": list(self.interval),
            "seed_interval": over,
        }


def pooled(runs: Sequence[SweepRun]) -> tuple[SweepRow, ...]:
    """Return a row per policy of each combination of the values other than the seed."""
    groups: dict[tuple[Any, ...], list[SweepRun]] = {}
    for run in runs:
        rest = tuple((key, value) for key, value in run.values.items() if key != SEED)
        for stage in run.results:
            groups.setdefault((rest, stage), []).append(run)
    return tuple(_row(dict(rest), stage, group) for (rest, stage), group in groups.items())


def _row(values: Mapping[str, str], stage: str, runs: Sequence[SweepRun]) -> SweepRow:
    found = [run.results[stage] for run in runs]
    return SweepRow(
        values=values,
        policy=stage,
        seeds=tuple(run.values.get(SEED, "") for run in runs),
        rates=tuple(each["rate"] for each in found),
        successes=sum(each["successes"] for each in found),
        episodes=sum(len(each["episodes"]) for each in found),
    )


def text_table(rows: Sequence[SweepRow]) -> str:
    """Return the rows as a table of plain text."""
    cells = [_headings(rows), *(_cells(row, rows) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _headings(rows: Sequence[SweepRow]) -> list[str]:
    keys = list(rows[0].values) if rows else []
    policy = ["policy"] if _baselines(rows) else []
    return [*keys, *policy, "success", "95 % interval", "episodes", "each seed", "95 % over seeds"]


def _cells(row: SweepRow, rows: Sequence[SweepRow]) -> list[str]:
    low, high = row.interval
    over = row.seed_interval
    return [
        *row.values.values(),
        *([row.policy] if _baselines(rows) else []),
        percent(row.rate),
        f"{percent(low)} to {percent(high)}",
        f"{row.successes} of {row.episodes}",
        ", ".join(map(percent, row.rates)),
        "-" if over is None else f"{percent(over[0])} to {percent(over[1])}",
    ]


def _baselines(rows: Sequence[SweepRow]) -> bool:
    return len({row.policy for row in rows}) > 1


def sweep_page(name: str, command: str, runs: Sequence[SweepRun]) -> Page:
    """Return the page of a sweep."""
    rows, failed = pooled(runs), [run for run in runs if run.error]
    counts = [Fact(str(len(runs)), "combinations", main=True)]
    if failed:
        counts.append(Fact(str(len(failed)), "failed"))
    return Page(
        title=f"Sweep of {name}",
        subtitle=command,
        notes=[note(f"{_label(run.values)}: {run.error}") for run in failed],
        facts=counts,
        sections=[
            Section("Success", list(_success(rows))),
            Section("Runs", [_runs(runs)]),
        ],
    )


def write_page(path: Path, page: Page) -> None:
    """Write the page of a sweep."""
    write_text(path, render_page(page))


def _success(rows: Sequence[SweepRow]) -> Iterator[Block]:
    if not rows:
        return

    def cells(row: SweepRow) -> list[Cell]:
        *left, rate, interval, episodes, seeds, over = _cells(row, rows)
        drawn = bar(row.rate, row.interval, row.policy == "act")
        return [*left, Styled(rate, "bold"), drawn, interval, episodes, seeds, over]

    *left, rate, interval, episodes, seeds, over = _headings(rows)
    numbers = (f"#{rate}", "", f"#{interval}", f"#{episodes}", f"#{seeds}", f"#{over}")
    yield Table((*left, *numbers), [cells(row) for row in rows], sortable=True)


def _runs(runs: Sequence[SweepRun]) -> Table:
    keys = list(runs[0].values) if runs else []
    return Table(
        [*keys, "run"],
        [
            [
                *run.values.values(),
                Styled("failed", "bad") if run.error else Styled(run.run, "code"),
            ]
            for run in runs
        ],
    )


def _label(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
