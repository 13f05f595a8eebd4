"""Compare two policies on the episodes that both were evaluated on.

Two evaluations with the same seeds have the same scenes, so differences per episode are more
informative than two success rates. McNemar's exact test (McNemar 1947) asks whether the episodes
in which only one of them succeeds favour one side. The interval of the mean difference is that of
a percentile bootstrap over episodes (Efron and Tibshirani 1993).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

RESAMPLES = 20_000  # of the bootstrap: the ends of the interval vary by less than 0.01

EpisodeKey = tuple[str, int]  # task, or an empty string if the run has one; seed
Outcomes = Mapping[EpisodeKey, bool]  # whether each episode was solved


@attrs.frozen(kw_only=True)
class PairedDifference:
    """The success of a second policy minus that of a first, on the episodes they share."""

    episodes: int
    """Shared episodes."""
    only_first: int
    """Episodes that only the first policy solved."""
    only_second: int
    difference: float
    """Success rate of the second minus that of the first, on the shared episodes."""
    low: float
    """Lower end of the 95% bootstrap interval of ``difference``."""
    high: float
    p: float
    """Two-sided p-value of McNemar's exact test."""


def outcomes(results: Mapping[str, Any]) -> dict[EpisodeKey, bool]:
    """Return whether each episode was solved. ``results`` are those of an act stage."""
    return {
        (str(episode.get("task") or ""), int(episode["seed"])): bool(episode["success"])
        for episode in results["episodes"]
    }


def paired_difference(first: Outcomes, second: Outcomes) -> PairedDifference | None:
    """Compare two policies on their shared episodes; None if there are none."""
    shared = [key for key in first if key in second]
    if not shared:
        return None
    n = len(shared)
    only_first = sum(first[key] and not second[key] for key in shared)
    only_second = sum(second[key] and not first[key] for key in shared)
    low, high = bootstrap_interval(only_first, only_second, n)
    return PairedDifference(
        episodes=n,
        only_first=only_first,
        only_second=only_second,
        difference=(only_second - only_first) / n,
        low=low,
        high=high,
        p=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: a binomial test of the two counts."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))


def bootstrap_interval(
    only_first: int, only_second: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean difference over ``n`` episodes.

    The same counts always give the same interval. It has no width if no episode differs.
    """
    shares = np.array([only_first, only_second, n - only_first - only_second]) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, size=RESAMPLES)
    tail = 50 * (1 - confidence)
    low, high = np.percentile((drawn[:, 1] - drawn[:, 0]) / n, [tail, 100 - tail])
    return float(low), float(high)
