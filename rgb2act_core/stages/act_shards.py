"""Evaluate in shards: processes run batches of episodes side by side, and one merges them.

Finished batches are in ``store/act/<key>.shards``, one folder each with the outcome of its episodes
and their rollouts. Batches have the same composition in every process, so the merged results are
those of a single process.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..evaluation.episode_batch import EpisodeBatch
from ..evaluation.episode_progress import Ended, count_episodes
from ..evaluation.seeds import Seeds
from ..evaluation.simulator_pool import SimulatorPool
from ..evaluation.task import EvaluationTask
from ..policy.batch_planner import BatchPlanner
from ..store import locks
from ..store.claims import Claims
from ..store.disk_errors import guard
from ..store.files import atomic_folder, atomic_write, read_json, write_record
from ..store.stage_folder import StageFolder
from ..system.progress import progress_bar
from ..system.shards import Shard

OUTCOMES = "outcomes.json"  # in the folder of a batch


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """Seeds of one task that are evaluated in parallel."""

    index: int  # over all tasks
    task: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"batch_{self.index:06d}"


def batches_of(all_seeds: Sequence[Seeds], size: int) -> list[Batch]:
    """Return the batches in which the seeds of each task are evaluated."""
    parts = [
        (task, seeds.accepted[first : first + size])
        for task, seeds in enumerate(all_seeds)
        for first in range(0, len(seeds.accepted), size)
    ]
    return [Batch(index=i, task=task, seeds=part) for i, (task, part) in enumerate(parts)]


@attrs.frozen(eq=False, kw_only=True)
class ShardedEvaluation:
    """The evaluation of one policy, in batches that processes claim."""

    target: StageFolder
    planner: BatchPlanner
    tasks: Sequence[EvaluationTask]
    all_seeds: Sequence[Seeds]
    clouds: bool  # whether the policy observes point clouds

    def run(self, shard: Shard, title: str) -> int:
        """Evaluate the batches of a shard; return how many episodes are left to other shards.

        Batches of the same shard that another process claimed are waited for.
        """
        folder = self.target.shards
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
        batches = batches_of(self.all_seeds, self.planner.batch)
        own = shard.part(batches)
        left = [batch for batch in own if not self.stored(batch)]
        if left:
            self._run(left, title, _episodes(own) - _episodes(left))
        return _episodes([batch for batch in batches if not self.stored(batch)])

    def stored(self, batch: Batch) -> bool:
        """Return whether a batch is evaluated, or the evaluation finished with it."""
        return (self.target.shards / batch.name / OUTCOMES).exists() or self.target.done

    def _run(self, left: Sequence[Batch], title: str, done: int) -> None:
        count = done + _episodes(left)
        with (
            progress_bar(title, count, "episodes", done=done) as advance,
            Claims(self.target.shards) as claims,
        ):
            ended = count_episodes(advance)
            for number, task in enumerate(self.tasks):
                self._run_task(task, [b for b in left if b.task == number], claims, ended)

    def _run_task(
        self, task: EvaluationTask, left: Sequence[Batch], claims: Claims, ended: Ended
    ) -> None:
        if not left:
            return
        frames, clouds = self.planner.frames_observed, self.clouds
        with task.simulators(self.planner.batch, frames, clouds) as simulators:
            while left := [b for b in left if not self._try(task, b, simulators, claims, ended)]:
                time.sleep(locks.POLL)

    def _try(
        self,
        task: EvaluationTask,
        batch: Batch,
        simulators: SimulatorPool,
        claims: Claims,
        ended: Ended,
    ) -> bool:
        """Evaluate a batch if it can be claimed; return whether it is stored."""
        if self.stored(batch):
            return True
        try:
            if not claims.take(batch.name):
                return False
            if not self.stored(batch):
                self._evaluate(task, batch, simulators, ended)
            claims.release(batch.name)
        except UserError:  # another process may have merged and removed the batches
            if not self.stored(batch):
                raise
        return True

    def _evaluate(
        self, task: EvaluationTask, batch: Batch, simulators: SimulatorPool, ended: Ended
    ) -> None:
        seeds, lost = self.all_seeds[batch.task], len(simulators.lost)
        with atomic_folder(self.target.shards / batch.name) as folder:
            outcomes = EpisodeBatch(
                task.act,
                self.planner,
                simulators,
                batch.seeds,
                folder,
                seeds.scenes_of(batch.seeds),
                task.name,
            ).run(ended)
            content = {"episodes": outcomes, "lost": simulators.lost[lost:]}
            write_record(folder / OUTCOMES, content)


def episodes_left(target: StageFolder, total: int) -> int:
    """Return how many of all episodes are not evaluated yet."""
    stored = target.shards.glob("batch_*/rollouts/*.npz")
    return 0 if target.done else max(total - sum(1 for _ in stored), 0)


def _episodes(batches: Sequence[Batch]) -> int:
    return sum(len(batch.seeds) for batch in batches)


def merge_batches(
    shards: Path, batches: Sequence[Batch], folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Copy the rollouts of the first batches that are stored into the folder of an evaluation.

    Returns the outcomes of their episodes, and the simulators that were lost. Batches after one
    that is missing are left out.
    """
    episodes: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for batch in batches:
        source = shards / batch.name
        if not (source / OUTCOMES).exists():
            break
        content = read_json(source / OUTCOMES)
        episodes += content["episodes"]
        lost += content["lost"]
        for path in sorted((source / "rollouts").iterdir()):
            _copy(path, folder / "rollouts" / path.name)
    return episodes, lost


def _copy(source: Path, path: Path) -> None:
    with guard(path):
        path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        shutil.copyfile(source, temporary)
