"""Replay (``[act] replay``): execute recorded actions to check data, timing and environment.

Nothing is encoded or trained. Each episode starts from the seed of a recorded one and executes its
actions, every ``replay_stride``-th; the last one is repeated until the episode ends.

Shapes: T = steps, A = actions, X = hands
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset, EpisodeRef
from ..errors import UserError
from ..evaluation.episode_batch import summary
from ..evaluation.episode_metrics import smoothness
from ..evaluation.episode_progress import Ended, count_episodes
from ..evaluation.rollout_files import RolloutFile
from ..evaluation.seeds import Seeds, named_seeds
from ..evaluation.simulator_pool import SimulatorPool
from ..evaluation.simulator_worker import StepResult
from ..interfaces import EnvironmentInfo
from ..spec import Act
from ..store.disk_errors import guard
from ..store.files import write_json
from ..system.progress import progress_bar
from .act import enter_video, evaluation_tasks, film_some, take_simulator
from .run import Run
from .tasks import Tasks

CHUNK = 8  # actions between two measurements of the joints


def replay(
    run: Run, tasks: Tasks, data: Dataset, folder: Path, title: str = "act"
) -> dict[str, Any]:
    """Replay recorded episodes and return the success rate and the outcome of each.

    ``[act] episodes`` of them are replayed: the first recorded ones, unless ``first_seed`` or
    ``seeds`` selects others.
    """
    if len(tasks) > 1:
        raise UserError("environment: the spec has several tasks; replay one of them")
    (task,) = tasks
    (evaluation,) = evaluation_tasks(run, tasks.names)
    recorded, act = episodes_by_seed(data), run.spec.act
    seeds = _select_seeds(act, recorded)
    write_json(folder / "seeds.json", seeds.plain())
    slots = min(act.parallel_episodes, len(seeds.accepted))
    with evaluation.simulators(slots, {0}) as simulators:
        episodes = _replay_all(act, task.info, recorded, seeds, folder, simulators, title)
        if simulators.lost:  # kept apart from the results, which losses do not change
            write_json(folder / "lost.json", {"lost": simulators.lost})
    error = max(episode["joint_error"] for episode in episodes)
    results = {
        **summary(episodes, act.limit(task.info.max_steps)),
        "replay": {"stride": act.replay_stride, "joint_error": error},
        **({"seeds": seeds.summary()} if seeds.source else {}),
        **take_simulator(episodes),
        "episodes": episodes,
    }
    task.publish(folder, results)
    return results


def _replay_all(
    act: Act,
    info: EnvironmentInfo,
    recorded: Mapping[int, EpisodeRef],
    seeds: Seeds,
    folder: Path,
    simulators: SimulatorPool,
    title: str,
) -> list[dict[str, Any]]:
    """Replay all selected episodes, in batches of ``act.parallel_episodes``."""
    with guard(folder):
        (folder / "videos").mkdir(exist_ok=True)
    episodes: list[dict[str, Any]] = []
    with progress_bar(title, len(seeds.accepted), "episodes") as advance:
        ended = count_episodes(advance)
        for first in range(0, len(seeds.accepted), act.parallel_episodes):
            part = seeds.accepted[first : first + act.parallel_episodes]
            batch = _ReplayBatch(
                info=info,
                simulators=simulators,
                recordings={s: _Recording.read(recorded[s], act.replay_stride) for s in part},
                folder=folder,
                scenes=seeds.scenes_of(part),
            )
            episodes += batch.run(ended)
    film_some(act, simulators, folder, episodes)
    for episode in episodes:
        enter_video(folder, episode)
    return episodes


def episodes_by_seed(data: Dataset) -> dict[int, EpisodeRef]:
    """Return the demonstrations by their seeds, in order; UserError if one has no known seed."""
    found: dict[int, EpisodeRef] = {}
    for source in data.demonstrations:
        match = re.fullmatch(r"episode_(\d{7})", source.name) if source.path else None
        seed = int(match[1]) if match else source.open().seed
        if seed is None:
            raise UserError(
                f"episode {source.name}: the seed it was recorded from is unknown, so it cannot be"
                " replayed; put the data set's seed.txt next to its episodes"
            )
        found.setdefault(seed, source)
    return dict(sorted(found.items()))


def _select_seeds(act: Act, recorded: Mapping[int, EpisodeRef]) -> Seeds:
    if act.seeds is None and act.first_seed is None:
        return Seeds(accepted=tuple(recorded)[: act.episodes])
    seeds = named_seeds(act)
    if unknown := [seed for seed in seeds.accepted if seed not in recorded]:
        raise UserError(
            f"act: no episode was recorded from seed {unknown[0]}; recorded seeds are"
            f" {', '.join(map(str, list(recorded)[:20]))}"
        )
    return seeds


@attrs.frozen(eq=False, kw_only=True)
class _Recording:
    """A recorded episode, and which of its actions are executed."""

    joints_TA: NDArray[np.float32]
    actions_TA: NDArray[np.float32]
    stride: int

    @classmethod
    def read(cls, source: EpisodeRef, stride: int) -> _Recording:
        """Read an episode."""
        episode = source.open()
        assert episode.joints is not None
        assert episode.actions is not None
        joints, actions = np.asarray(episode.joints[:]), np.asarray(episode.actions[:])
        return cls(joints_TA=joints, actions_TA=actions, stride=stride)

    def row(self, steps: int) -> int:
        """Return the recorded row of the last action after this number of steps."""
        return min(self.stride * steps, len(self.actions_TA)) - 1

    def actions(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the actions (n, A) of ``count`` steps."""
        rows = [self.row(step + 1) for step in range(first, first + count)]
        return self.actions_TA[rows]

    def joint_error(self, result: StepResult) -> float:
        """Return the largest distance of a joint from the recording; 0 after its end."""
        row = self.row(result.steps) + 1
        if row >= len(self.joints_TA) or self.stride * result.steps > len(self.actions_TA):
            return 0.0
        return float(np.abs(result.joints[-1] - self.joints_TA[row]).max())


@attrs.frozen(eq=False, kw_only=True)
class _ReplayBatch:
    """Recorded episodes that are replayed in parallel."""

    info: EnvironmentInfo
    simulators: SimulatorPool
    recordings: Mapping[int, _Recording]  # by seed
    folder: Path  # of the evaluation, into which rollouts are written
    scenes: Mapping[int, Mapping[str, Any]]  # by seed, what screening reported

    def run(self, ended: Ended) -> list[dict[str, Any]]:
        """Return the outcome of each episode; ``ended(success)`` is called when one ends."""
        slots = dict(enumerate(self.recordings))
        first = self.simulators.reset(
            slots,
            {},
            {slot: self.scenes[seed] for slot, seed in slots.items() if seed in self.scenes},
        )
        results = {slot: [result.without_images()] for slot, result in first.items()}
        running = set(slots)
        while running:
            chunks = {
                slot: self.recordings[slots[slot]].actions(results[slot][-1].steps, CHUNK)
                for slot in running
            }
            for slot, result in self.simulators.step(chunks).items():
                results[slot].append(result.without_images())
                if result.done:
                    running.remove(slot)
                    ended(result.success)
        return [self._outcome(seed, results[slot]) for slot, seed in slots.items()]

    def _outcome(self, seed: int, results: list[StepResult]) -> dict[str, Any]:
        recording = self.recordings[seed]
        first, last = results[0], results[-1]
        hands_TX3 = np.concatenate([result.hands for result in results])
        commands_TA = recording.actions(0, last.steps)
        RolloutFile(
            seed=seed,
            success=last.success,
            task=None,
            scene=self.scenes.get(seed),
            chunk=CHUNK,
            action_names=list(self.info.action_names),
            commands=commands_TA,
            hands=hands_TX3,
            joints=np.concatenate([result.joints for result in results]),
            observed=np.concatenate([result.observed for result in results]),
            plans=np.zeros((0, 0, commands_TA.shape[1]), np.float32),
            plan_steps=np.zeros(0, np.int64),
            seams=np.zeros(0),
            moved=np.arange(commands_TA.shape[1]),
        ).save(self.folder)
        start_error = float(np.abs(first.joints[-1] - recording.joints_TA[0]).max())
        return {
            "seed": seed,
            "success": last.success,
            "steps": last.steps,
            "plans": 0,
            "seam": 0.0,
            **smoothness(commands_TA, self.info.action_names, hands_TX3),
            "joint_error": max(start_error, *map(recording.joint_error, results[1:])),
            **first.info,
            **last.info,
            "video": None,
        }
