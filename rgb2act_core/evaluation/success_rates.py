"""Say how often a policy succeeded, over all tasks and in each, and whether clipping held it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def rates(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the success rate of acting, that of each task where there are several, and a note."""
    yield f"success rate {_rate(results, len(results['episodes']))}"
    for name, found in results.get("tasks", {}).items():
        own = [episode for episode in results["episodes"] if episode["task"] == name]
        yield f"success rate in {name} {_rate(found, len(own))}"
    if share := results["smoothness"].get("clipped_steps"):
        yield (
            f"in {share:.1%} of the steps the head's clipping moved a joint of the plan by more"
            " than 5 % of half its range"
        )


def _rate(found: Mapping[str, Any], count: int) -> str:
    low, high = found["interval"]
    return (
        f"{found['rate']:.2f} ({found['successes']} of {count}, 95 % interval {low:.2f} to"
        f" {high:.2f})"
    )
