"""Replay: recorded actions in place of a policy's, a check of their order, their timing and the
environment.

Nothing is encoded or trained. Each episode begins from the seed that a recorded one was begun from,
and is told its actions, every ``stride``-th; the last is repeated until the episode ends.

Shapes: T = steps, A = actions, X = hands
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..builtin.heads.replay import Replay
from ..data.dataset import Dataset, EpisodeRef
from ..errors import UserError
from ..evaluation.seeds import Seeds, named
from ..evaluation.simulator_pool import SimulatorPool
from ..evaluation.simulator_worker import StepResult
from ..evaluation.waves import summary
from ..interfaces import EnvironmentInfo
from ..policy import smoothness
from ..store.files import guard, write_json
from ..store.run import Run
from ..system.devices import workers_of
from ..system.progress import task
from .act import simulator_of
from .tasks import Tasks

CHUNK = 8  # actions between two looks at where the joints are


def replay(
    run: Run, tasks: Tasks, data: Dataset, folder: Path, title: str = "act"
) -> dict[str, Any]:
    """Play recorded episodes in ``folder`` and return the success rate and what became of each.

    ``[act] episodes`` of them are played, the first recorded unless ``first_seed`` or ``seeds``
    names others.
    """
    if len(tasks) > 1:
        raise UserError("environment: several tasks are named; replay one of them")
    (each,) = tasks
    (choice,) = run.spec.environments
    sources = by_seed(data)
    chosen = _chosen(run, sources)
    write_json(folder / "seeds.json", chosen.plain())
    count = min(run.spec.act.parallel_episodes, len(chosen.accepted))
    workers = workers_of(run.spec.compute)
    with SimulatorPool(choice.component.name, choice.config, count, 1, workers) as simulators:
        episodes = _waves(run, each.info, sources, chosen, folder, simulators, title)
        if simulators.lost:  # apart from the results, which they do not change
            write_json(folder / "lost.json", {"lost": simulators.lost})
    config = run.spec.policy.head.config
    error = max(episode["joint_error"] for episode in episodes)
    results = {
        **summary(episodes, each.info.max_steps),
        "replay": {"stride": config.stride, "joint_error": error},
        **({"seeds": chosen.summary()} if chosen.source else {}),
        **simulator_of(episodes),
        "episodes": episodes,
    }
    each.publish(folder, results)
    return results


def _waves(
    run: Run,
    info: EnvironmentInfo,
    sources: Mapping[int, EpisodeRef],
    chosen: Seeds,
    folder: Path,
    simulators: SimulatorPool,
    title: str,
) -> list[dict[str, Any]]:
    """Play all chosen episodes, as many at once as act side by side."""
    seeds, tries = chosen.accepted, run.spec.act
    with guard(folder):
        (folder / "videos").mkdir(exist_ok=True)
    films = {seed: folder / f"videos/seed_{seed:07d}.mp4" for seed in seeds[: tries.videos]}
    episodes: list[dict[str, Any]] = []
    with task(title, len(seeds), "episodes") as advance:
        for wave in (
            seeds[i : i + tries.parallel_episodes]
            for i in range(0, len(seeds), tries.parallel_episodes)
        ):
            told = {seed: chosen.told[seed] for seed in wave if seed in chosen.told}
            paths = {seed: _Path.of(sources[seed], run.spec.policy.head.config) for seed in wave}
            trial = _Trial(seeds=wave, films=films, told=told, advance=advance)
            episodes += _play(info, simulators, paths, trial)
            advance(0, success=sum(e["success"] for e in episodes) / len(episodes))
    return episodes


@attrs.frozen(eq=False, kw_only=True)
class _Trial:
    """Say which episodes to play side by side; ``advance(1)`` is called when one has ended."""

    seeds: Sequence[int]
    films: Mapping[int, Path]  # by seed
    told: Mapping[int, Mapping[str, Any]]  # by seed, what its screening told of the scene
    advance: Callable[..., None]


def by_seed(data: Dataset) -> dict[int, EpisodeRef]:
    """Return the demonstrations by their seeds, in order; UserError when one tells none."""
    found: dict[int, EpisodeRef] = {}
    for source in data.demonstrations:
        named = re.fullmatch(r"episode_(\d{7})", source.name) if source.path else None
        seed = int(named[1]) if named else source.open().seed
        if seed is None:
            raise UserError(
                f"episode {source.name}: does not tell the seed that it was recorded from, so that"
                " it cannot be replayed; RoboTwin's data sets have seed.txt beside their episodes"
            )
        found.setdefault(seed, source)
    return dict(sorted(found.items()))


def _chosen(run: Run, sources: Mapping[int, EpisodeRef]) -> Seeds:
    tries = run.spec.act
    if tries.seeds is None and tries.first_seed is None:
        return Seeds(accepted=tuple(sources)[: tries.episodes])
    chosen = named(tries)
    if unknown := [seed for seed in chosen.accepted if seed not in sources]:
        raise UserError(
            f"act: there is no recorded episode of seed {unknown[0]}; there are those of"
            f" {', '.join(map(str, list(sources)[:20]))}"
        )
    return chosen


@attrs.frozen(eq=False, kw_only=True)
class _Path:
    """Hold what an episode recorded, and which rows of it are played."""

    joints_TA: NDArray[np.float32]
    actions_TA: NDArray[np.float32]
    stride: int

    @classmethod
    def of(cls, source: EpisodeRef, config: Replay) -> _Path:
        """Read an episode."""
        episode = source.open()
        assert episode.joints is not None
        assert episode.actions is not None
        joints, actions = np.asarray(episode.joints[:]), np.asarray(episode.actions[:])
        return cls(joints_TA=joints, actions_TA=actions, stride=config.stride)

    def row(self, steps: int) -> int:
        """Return the recorded row whose action is the last of so many steps."""
        return min(self.stride * steps, len(self.actions_TA)) - 1

    def actions(self, begin: int, count: int) -> NDArray[np.float32]:
        """Return the actions (n, A) of ``count`` steps."""
        rows = [self.row(step + 1) for step in range(begin, begin + count)]
        return self.actions_TA[rows]

    def error(self, seen: StepResult) -> float:
        """Return how far joints are from the recorded ones; 0 when the path has ended."""
        row = self.row(seen.steps) + 1
        if row >= len(self.joints_TA) or self.stride * seen.steps > len(self.actions_TA):
            return 0.0
        return float(np.abs(seen.joints[-1] - self.joints_TA[row]).max())


def _play(
    info: EnvironmentInfo, simulators: SimulatorPool, paths: Mapping[int, _Path], trial: _Trial
) -> list[dict[str, Any]]:
    slots = dict(enumerate(trial.seeds))
    seen = simulators.reset(
        slots,
        {slot: trial.films[seed] for slot, seed in slots.items() if seed in trial.films},
        {slot: trial.told[seed] for slot, seed in slots.items() if seed in trial.told},
    )
    views = {slot: [first] for slot, first in seen.items()}
    running = set(slots)
    while running:
        chunks = {
            slot: paths[slots[slot]].actions(views[slot][-1].steps, CHUNK) for slot in running
        }
        for slot, result in simulators.step(chunks).items():
            views[slot].append(attrs.evolve(result, rgb=result.rgb[:0]))
            if result.done:
                running.remove(slot)
                trial.advance(1)
    return [
        _row(info, paths[seed], views[slot], seed, trial.films.get(seed))
        for slot, seed in slots.items()
    ]


def _row(
    info: EnvironmentInfo, path: _Path, views: list[StepResult], seed: int, film: Path | None
) -> dict[str, Any]:
    first, last = views[0], views[-1]
    hands_TX3 = np.concatenate([view.hands for view in views])
    commands_TA = path.actions(0, last.steps)
    begins = float(np.abs(first.joints[-1] - path.joints_TA[0]).max())
    return {
        "seed": seed,
        "success": last.success,
        "steps": last.steps,
        "plans": 0,
        "seam": 0.0,
        **smoothness.measure(commands_TA, info.action_names, hands_TX3),
        "joint_error": max(begins, *map(path.error, views[1:])),
        **first.told,
        **last.told,
        "video": None if film is None else "/".join(film.parts[-2:]),
    }
