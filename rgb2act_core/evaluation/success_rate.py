"""Success rates: confidence interval and text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; the last one is used beyond
QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a success rate; (0, 1) for n = 0.

    Raises ValueError unless 0 <= successes <= n and 0 < confidence < 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, scale = successes / n, 1 + z * z / n
    middle = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half  # exact: rounding can miss 0 by 1e-17
    high = 1.0 if successes == n else middle + half
    return low, high


def over_seeds(rates: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval of the mean success rate of training seeds, within 0 to 1.

    None with a single seed. Unlike an interval over episodes, it contains the differences between
    trainings.
    """
    n = len(rates)
    if n < 2:
        return None
    half = QUANTILES[min(n - 1, len(QUANTILES)) - 1] * stdev(rates) / math.sqrt(n)
    return max(0.0, fmean(rates) - half), min(1.0, fmean(rates) + half)


def success_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overall success rate, that of each of several tasks, and how often plans clipped.

    ``results`` are those of the act stage.
    """
    yield f"success rate {_rate(results, len(results['episodes']))}"
    for name, found in results.get("tasks", {}).items():
        own = [episode for episode in results["episodes"] if episode["task"] == name]
        yield f"success rate in {name} {_rate(found, len(own))}"
    if share := results["smoothness"].get("clipped_steps"):
        yield (
            "action clipping changed a joint by more than 5% of half its action range in"
            f" {share:.1%} of the steps"
        )


def _rate(found: Mapping[str, Any], count: int) -> str:
    low, high = found["interval"]
    return (
        f"{found['rate']:.2f} ({found['successes']} of {count}, 95 % interval {low:.2f} to"
        f" {high:.2f})"
    )
