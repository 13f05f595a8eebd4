"""A sweep's table pools the episodes of all seeds."""

from __future__ import annotations

import pytest

from rgb2act_core.evaluation.success_rate import over_seeds, wilson
from rgb2act_core.reporting.page import render_page
from rgb2act_core.reporting.sweep import SweepRun, pooled, sweep_page, text_table

RUNS = [
    SweepRun(
        values={"policy.condition": condition, "seed": seed},
        run=f"runs/toy/{seed}",
        results={"act": {"successes": successes, "rate": successes / 4, "episodes": [{}] * 4}},
    )
    for condition, seed, successes in (("a", "0", 1), ("a", "1", 3), ("b", "0", 4))
]
FAILED = SweepRun(values={"policy.condition": "b", "seed": "1"}, run="", results={}, error="<no>")


def test_row_pools_the_episodes_of_all_seeds() -> None:
    first, second = pooled([*RUNS, FAILED])
    assert (first.successes, first.episodes, first.rates) == (4, 8, (0.25, 0.75))
    assert first.interval == wilson(4, 8)
    assert second.values == {"policy.condition": "b"}
    assert second.seeds == ("0",)
    assert second.seed_interval is None


def test_the_interval_over_seeds_is_that_of_their_mean() -> None:
    rates = (0.9, 0.8, 0.85)  # standard deviation 0.05
    assert over_seeds(rates) == pytest.approx((0.85 - 0.1242, 0.85 + 0.1242), abs=1e-4)
    assert over_seeds((0.0, 1.0)) == (0.0, 1.0)
    assert over_seeds((1.0, 1.0)) == (1.0, 1.0)


def test_text_has_one_line_per_combination() -> None:
    lines = text_table(pooled(RUNS)).splitlines()
    assert [line.split()[0] for line in lines] == ["policy.condition", "a", "b"]
    assert "4 of 8" in lines[1]
    assert "25 %, 75 %" in lines[1]


def test_page_lists_failures_and_escapes_them() -> None:
    page = render_page(sweep_page("toy", "rgb2act sweep toy.toml", [*RUNS, FAILED]))
    assert "policy.condition=b seed=1: &lt;no&gt;" in page
    assert "4 of 8" in page
    assert "runs/toy/0" in page
