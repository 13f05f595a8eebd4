"""Run a batch of episodes under a policy, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ..features.encoder import build_backbones
from ..policy import rollout
from ..policy.planner import Planner
from ..policy.policy import Policy
from ..policy.rollout import Rollout
from ..spec import Act
from ..spec.conditions import seen_backbones
from ..store.files import write_json
from ..store.run import Run
from ..system.devices import workers_of
from .simulator_pool import SimulatorPool
from .simulator_worker import StepResult
from .success_rate import wilson

SMOOTH = (  # means over episodes; those of hands where the environment tells where they are
    *("seam", "largest_step", "jumps", "rewinds"),
    *("largest_hand_step", "hand_jumps", "hand_rewinds"),
    "clipped_steps",  # where the head clips its plans
)


def summary(episodes: Sequence[Mapping[str, Any]], max_steps: int) -> dict[str, Any]:
    """Return success rate, interval and smoothness over episodes."""
    successes = sum(episode["success"] for episode in episodes)
    low, high = wilson(successes, len(episodes))
    return {
        "successes": successes,
        "rate": successes / len(episodes),
        "interval": [low, high],
        "max_steps": max_steps,
        "smoothness": {
            name: float(np.mean([episode[name] for episode in episodes]))
            for name in SMOOTH
            if all(name in episode for episode in episodes)
        },
    }


def planner_of(run: Run, policy: Policy, device: str) -> Planner:
    """Return what plans for as many episodes as act side by side."""
    batch = min(run.spec.act.parallel_episodes, run.spec.act.episodes)
    return Planner(policy, build_backbones(seen_backbones(run.spec), device), batch, device)


def simulators_of(run: Run, planner: Planner) -> SimulatorPool:
    """Start the run's simulators, which show as much as the planner looks back on."""
    (environment,) = run.spec.environments
    keep = planner.frames_kept
    return SimulatorPool(
        environment.component.name,
        environment.config,
        planner.batch,
        keep,
        workers_of(run.spec.compute),
    )


@attrs.frozen(eq=False)
class EpisodeBatch:
    """Play episodes side by side until each has ended."""

    tries: Act
    planner: Planner
    simulators: SimulatorPool
    seeds: list[int]
    films: Mapping[int, Path]  # by seed, in a folder of the stage's folder
    told: Mapping[int, Mapping[str, Any]] = attrs.field(factory=dict)  # by seed, of its scene
    task: str | None = None  # which of several

    def play(self, advance: Any) -> list[dict[str, Any]]:
        """Return what became of each seed; ``advance(1)`` is called whenever one has ended."""
        slots = dict(enumerate(self.seeds))
        films = {slot: self.films[seed] for slot, seed in slots.items() if seed in self.films}
        known = {slot: self.told[seed] for slot, seed in slots.items() if seed in self.told}
        seen = self.simulators.reset(slots, films, known)
        said = {slot: first.told for slot, first in seen.items()}
        courses = {
            slot: rollout.start_rollout(
                self.planner, self.tries, seed, seen[slot].joints[-1], self.task
            )
            for slot, seed in slots.items()
        }
        hands = {slot: [first.hands] for slot, first in seen.items()}
        running = dict(courses)
        ended: dict[int, StepResult] = {}
        while running:
            self._see({slot: seen[slot] for slot in running}, running)
            seen = self.simulators.step(rollout.step_rollouts(self.planner, self.tries, running))
            for slot, result in seen.items():
                hands[slot].append(result.hands)
                if result.done:
                    ended[slot] = result
                    del running[slot]
                    advance(1)
        ways = {slot: np.concatenate(parts) for slot, parts in hands.items()}
        for slot, film in films.items():
            write_json(film.with_suffix(".json"), courses[slot].curves(ways[slot]))
        where = {"task": self.task} if self.task else {}
        return [
            where
            | {"seed": seed, "success": ended[slot].success, "steps": ended[slot].steps}
            | courses[slot].facts(ways[slot])
            | {**said[slot], **ended[slot].told}
            | {"video": "/".join(films[slot].parts[-2:]) if slot in films else None}
            for slot, seed in slots.items()
        ]

    def _see(self, seen: dict[int, StepResult], running: dict[int, Rollout]) -> None:
        names = self.planner.policy.shape.states
        states = []
        for slot, what in seen.items():
            running[slot].history.add(what.rgb, what.joints)
            rows = [np.concatenate([s[n].reshape(-1) for n in names]) for s in what.state if names]
            states.append(np.array(rows, np.float32))
        self.planner.see([one.history for one in running.values()], states)
