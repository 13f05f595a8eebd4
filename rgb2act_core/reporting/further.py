"""Further evaluations of a run's policy, with other seeds or settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from . import episodes, rollouts
from .blocks import Block, Folded, Heading, guarded, note
from .formats import percent
from .stage_results import StageResults


def evaluations(further: Sequence[StageResults]) -> Iterator[Block]:
    """Yield videos and episodes of each evaluation."""
    for act in further:
        if act.problem:
            yield note(act.problem)
            continue
        yield from guarded(partial(_evaluation, act))


def _evaluation(act: StageResults) -> Iterator[Block]:
    seeds = [int(episode["seed"]) for episode in act.results["episodes"]]
    successes, n = episodes.count_successes(act)
    shown = str(seeds[0]) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    yield Heading(f"Seeds {shown}: {percent(successes / n)} success, {successes} of {n}")
    yield from rollouts.videos(act)
    yield Folded("Episodes", guarded(partial(episodes.tables, act)))
