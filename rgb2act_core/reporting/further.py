"""Further evaluations of a run's policy, on other seeds, with other settings or environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ..store.keys import difference
from . import episodes, rollouts
from .blocks import Block, Folded, Heading, guarded, note
from .formats import percent
from .stage_results import StageResults

SEEDS = ("first_seed", "seeds", "episodes", "videos")  # keys of [act], which the title shows


def evaluations(own: StageResults | None, further: Sequence[StageResults]) -> Iterator[Block]:
    """Yield videos and episodes of each evaluation, and how it differs from the run's own."""
    for act in further:
        if act.problem:
            yield note(act.problem)
            continue
        yield from guarded(partial(_evaluation, own, act))


def _changes(own: StageResults | None, act: StageResults) -> str:
    if own is None or not own.inputs or not act.inputs:
        return ""
    changes = [
        change
        for table in ("environment", "act")
        for change in difference({table: own.inputs.get(table)}, {table: act.inputs.get(table)})
        if not change.startswith(tuple(f"act.{key}:" for key in SEEDS))
    ]
    return "".join(f", {change}" for change in changes)


def _evaluation(own: StageResults | None, act: StageResults) -> Iterator[Block]:
    seeds = [int(episode["seed"]) for episode in act.results["episodes"]]
    successes, n = episodes.count_successes(act)
    shown = str(seeds[0]) if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
    title = f"Seeds {shown}{_changes(own, act)}"
    yield Heading(f"{title}: {percent(successes / n)} success, {successes} of {n}")
    yield from rollouts.videos(act)
    yield Folded("Episodes", guarded(partial(episodes.tables, act)))
