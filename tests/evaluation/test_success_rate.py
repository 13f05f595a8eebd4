from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgb2act_core.evaluation.success_rate import wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775328),  # published tables give 0.000 .. 0.278
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672, 1.0),
        (81, 263, 0.2552711, 0.3661659),  # Newcombe 1998, method 3: 0.2553, 0.3662
        (1, 29, 0.0061128, 0.1717552),  # Newcombe 1998: 0.0061, 0.1718
    ],
)
def test_interval_equals_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx(
        (low, high), abs=6e-5
    )  # the table has four decimals


def test_no_episodes_give_the_full_interval():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000), st.data())
def test_interval_contains_the_rate_and_is_within_0_and_1(n, data):
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0


def test_higher_confidence_widens_the_interval():
    low, high = wilson(7, 20, 0.9)
    assert wilson(7, 20, 0.99)[0] < low < high < wilson(7, 20, 0.99)[1]


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="successes"):
        wilson(*counts)


def test_impossible_confidence_is_refused():
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, 1.0)
