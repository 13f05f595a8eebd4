"""Paired comparison of two policies: McNemar's test and the bootstrap interval."""

from __future__ import annotations

import math

import pytest

from rgb2act_core.evaluation.paired_success import (
    bootstrap_interval,
    mcnemar,
    outcomes,
    paired_difference,
)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),  # the doubled tail is above 1
        (1, 0, 1.0),
        (0, 6, 0.03125),  # 2 / 2**6
        (10, 0, 0.001953125),  # 2 / 2**10
        (5, 15, 0.04138946533203125),  # R: binom.test(5, 20)
        (59, 6, 4.11e-12),  # R: binom.test(6, 65), rounded
    ],
)
def test_p_values_of_mcnemars_exact_test(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p, rel=2e-2 if p < 1e-9 else 1e-12)
    assert mcnemar(only_second, only_first) == mcnemar(only_first, only_second)


def test_interval_agrees_with_the_normal_approximation() -> None:
    n, only_first, only_second = 1000, 120, 180
    mean = (only_second - only_first) / n
    error = math.sqrt(((only_first + only_second) / n - mean**2) / n)
    low, high = bootstrap_interval(only_first, only_second, n)
    # both are right to about 1/n here, and 20,000 resamples add 3% of the standard error
    assert low == pytest.approx(mean - 1.96 * error, abs=0.003)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.003)


def test_interval_is_reproducible_and_mirrors() -> None:
    assert bootstrap_interval(3, 9, 40) == bootstrap_interval(3, 9, 40)
    low, high = bootstrap_interval(3, 9, 40)
    assert bootstrap_interval(9, 3, 40) == pytest.approx((-high, -low), abs=0.03)  # one episode
    assert bootstrap_interval(0, 0, 40) == (0.0, 0.0)


def test_only_shared_episodes_count() -> None:
    first = {("", seed): seed % 2 == 0 for seed in range(10)}
    second = {("", seed): True for seed in range(4, 14)}
    found = paired_difference(first, second)
    assert found is not None
    assert (found.episodes, found.only_first, found.only_second) == (6, 0, 3)
    assert found.difference == 0.5
    assert found.low <= 0.5 <= found.high
    assert found.p == 0.25
    assert paired_difference(first, {("", 99): True}) is None


def test_episodes_of_several_tasks_are_distinct() -> None:
    episodes = [
        {"task": "lift", "seed": 1, "success": True},
        {"task": "place", "seed": 1, "success": False},
    ]
    assert outcomes({"episodes": episodes}) == {("lift", 1): True, ("place", 1): False}
    assert outcomes({"episodes": [{"seed": 1, "success": True}]}) == {("", 1): True}
