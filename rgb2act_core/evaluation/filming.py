"""Film evaluated episodes: execute their recorded commands again and write videos.

The simulator starts from the same seed, so the episode is the same. An episode that ends
differently is not filmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from .rollout_files import RolloutFile, video_path
from .simulator_pool import SimulatorPool
from .simulator_worker import StepResult


def episodes_to_film(episodes: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Return the seeds of the first ``count`` episodes, failures before successes."""
    ordered = sorted(episodes, key=lambda episode: bool(episode["success"]))
    return [episode["seed"] for episode in ordered[:count]]


@attrs.frozen(eq=False)
class Film:
    """The outcome of filming one episode: its video, or why there is none."""

    seed: int
    path: Path | None
    problem: str = ""


def film(simulators: SimulatorPool, folder: Path, rollouts: Sequence[RolloutFile]) -> list[Film]:
    """Execute the episodes again, in parallel, and write their videos to ``folder/videos``.

    The video of an episode that does not end as recorded is deleted.
    """
    slots = dict(enumerate(rollouts))
    paths = {slot: video_path(folder, r.seed, r.task) for slot, r in slots.items()}
    scenes = {slot: r.scene for slot, r in slots.items() if r.scene is not None}
    seeds = {slot: rollout.seed for slot, rollout in slots.items()}
    newest = simulators.reset(seeds, paths, scenes)
    running = {slot for slot, rollout in slots.items() if rollout.steps}
    while running:
        chunks = {
            slot: slots[slot].commands[newest[slot].steps :][: slots[slot].chunk]
            for slot in running
        }
        newest = {**newest, **simulators.step(chunks)}
        running = {
            slot
            for slot in running
            if not newest[slot].done and newest[slot].steps < slots[slot].steps
        }
    return [_outcome(slots[slot], newest[slot], paths[slot]) for slot in slots]


def _outcome(rollout: RolloutFile, result: StepResult, path: Path) -> Film:
    """Return the film of an episode; delete the video if the episode ended differently."""
    if problem := replay_problem(rollout, result):
        path.unlink(missing_ok=True)
        return Film(rollout.seed, None, problem)
    return Film(rollout.seed, path)


def replay_problem(rollout: RolloutFile, result: StepResult) -> str:
    """Return how an episode that was executed again ended differently; empty if it did not."""
    if (result.done, result.success, result.steps) == (True, rollout.success, rollout.steps):
        return ""
    recorded = f"{_ending(rollout.success, True)} after {rollout.steps} steps"
    found = f"{_ending(result.success, result.done)} after {result.steps} steps"
    return (
        f"seed {rollout.seed}: its recorded actions gave another episode ({found}, recorded:"
        f" {recorded}), so it cannot be shown; the simulator is not deterministic or has changed"
    )


def _ending(success: bool, done: bool) -> str:
    return "not ended" if not done else "success" if success else "failure"


def film_all(
    simulators: SimulatorPool, folder: Path, rollouts: Sequence[RolloutFile], slots: int
) -> list[Film]:
    """Film any number of episodes, ``slots`` at a time. Raises UserError if a worker fails."""
    found: list[Film] = []
    for first in range(0, len(rollouts), slots):
        found += film(simulators, folder, rollouts[first : first + slots])
    return found


def refuse_problems(films: Sequence[Film]) -> None:
    """Raise UserError that names the episodes that could not be filmed."""
    if problems := [film.problem for film in films if film.problem]:
        raise UserError(*problems)
