"""Evaluate a policy in its environment during training, and keep the best weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..policy.batch_planner import BatchPlanner, PolicyEncoders, open_encoders
from ..policy.policy import Policy
from ..spec import Act, BackboneChoice, ClosedLoop, TeacherChoice
from ..store.stage_folder import BEST
from ..store.tensors import read_tensors, write_tensors
from ..system.progress import progress_bar
from ..training import metrics_log
from .episode_batch import EpisodeBatch
from .episode_progress import Ended, count_episodes
from .seeds import Seeds, named_seeds, select_seeds
from .simulator_pool import SimulatorPool
from .success_rate import wilson
from .task import EvaluationTask

SUCCESS = "act/success"  # name of the curve


@attrs.define(eq=False, kw_only=True)
class Trials:
    """Repeated evaluations on the same seeds, each task on its own seeds.

    The simulators of a single task start with the first trial and run until ``close``; those of
    several tasks run only while a task is evaluated, because all of them could fill a GPU's memory.
    """

    tasks: tuple[EvaluationTask, ...]
    backbones: Sequence[BackboneChoice]
    teacher: TeacherChoice | None  # if the policy observes its embedding of the true point cloud
    acted_on: Collection[int]  # seeds of the spec's ``[act]``, on which no trial may run
    folder: Path
    title: str
    device: str
    _seeds: tuple[Seeds, ...] = ()  # of each task
    _encoders: PolicyEncoders | None = None
    _simulators: SimulatorPool | None = None

    @property
    def act(self) -> Act:
        """Return how trials act; the same for all tasks."""
        return self.tasks[0].act

    def attempt(self, policy: Policy, step: int) -> dict[str, float]:
        """Evaluate the weights after a training step, and save them if they are the best so far.

        Returns the success rate over all tasks, which decides what is best, and that of each of
        several tasks as ``act/success/NAME``. Among equally good weights the newest are kept. A
        resumed training repeats its trials and keeps the same weights.
        """
        planner, all_seeds = self._planner(policy), self._select_seeds()
        count = sum(len(seeds.accepted) for seeds in all_seeds)
        with progress_bar(f"{self.title} trial", count, "episodes") as advance:
            ended = count_episodes(advance)
            successes = [
                self._evaluate(task, seeds, planner, ended)
                for task, seeds in zip(self.tasks, all_seeds, strict=True)
            ]
        path = self.folder / BEST
        if not path.exists() or sum(successes) >= sum(read_tensors(path)[1]["successes"]):
            write_tensors(path, policy.state_dict(), {"step": step + 1, "successes": successes})
        by_task = {
            f"{SUCCESS}/{task.name}": won / len(seeds.accepted)
            for task, seeds, won in zip(self.tasks, all_seeds, successes, strict=True)
            if task.name
        }
        return {SUCCESS: sum(successes) / count} | by_task

    def _evaluate(
        self,
        task: EvaluationTask,
        seeds: Seeds,
        planner: BatchPlanner,
        ended: Ended,
    ) -> int:
        """Return how many of a task's episodes succeeded."""
        successes = 0
        with self._open_simulators(task, planner) as simulators:
            for first in range(0, len(seeds.accepted), planner.batch):
                part = seeds.accepted[first : first + planner.batch]
                scenes = seeds.scenes_of(part)
                batch = EpisodeBatch(
                    self.act, planner, simulators, part, scenes=scenes, task=task.name
                )
                successes += sum(episode["success"] for episode in batch.run(ended))
        return successes

    @contextmanager
    def _open_simulators(
        self, task: EvaluationTask, planner: BatchPlanner
    ) -> Iterator[SimulatorPool]:
        if self._simulators is None:
            clouds = self.teacher is not None
            self._simulators = task.simulators(planner.batch, planner.frames_observed, clouds)
        yield self._simulators
        if len(self.tasks) > 1:
            self.close()

    def close(self) -> None:
        """Stop the simulators, if any are running."""
        if self._simulators is not None:
            self._simulators.close()
            self._simulators = None

    def _planner(self, policy: Policy) -> BatchPlanner:
        if self._encoders is None:
            self._encoders = open_encoders(policy, self.backbones, self.device, self.teacher)
        batch = min(self.act.parallel_episodes, self.act.episodes)
        return BatchPlanner(policy, self._encoders, batch, self.device)

    def _select_seeds(self) -> tuple[Seeds, ...]:
        """Return the seeds of each task; UserError if accepted ones reach those of ``[act]``."""
        if not self._seeds:
            self._seeds = tuple(self._select(task) for task in self.tasks)
        return self._seeds

    def _select(self, task: EvaluationTask) -> Seeds:
        seeds = select_seeds(task, table="policy.closed_loop")
        if met := [seed for seed in seeds.accepted if seed in self.acted_on]:
            raise UserError(
                f"policy.closed_loop.first_seed: {task.act.start} is too high: after rejections the"
                f" trials reach seed {met[0]} of [act]; choose a lower one"
            )
        return seeds

    def take_best(self, policy: Policy) -> dict[str, Any]:
        """Load the best weights into a policy; return their step and success, and all trials."""
        tensors, meta = read_tensors(self.folder / BEST)
        policy.load_state_dict(tensors)
        rows = metrics_log.read(self.folder / "metrics.jsonl")
        episodes = self.act.episodes
        each = [_rate(won, episodes) for won in meta["successes"]]
        by_task = dict(zip(policy.config.tasks, each, strict=True)) if len(each) > 1 else {}
        return {
            "step": meta["step"],
            **_rate(sum(meta["successes"]), episodes * len(each)),
            **({"tasks": by_task} if by_task else {}),
            "first_seed": self.act.start,
            **self._screened(),
            "trials": [[row["step"] + 1, row[SUCCESS]] for row in rows if SUCCESS in row],
        }

    def _screened(self) -> dict[str, Any]:
        """Return the screened seeds of each task, for environments that screen."""
        all_seeds = zip(self.tasks, self._select_seeds(), strict=True)
        screened = {task.name: seeds.summary() for task, seeds in all_seeds if seeds.source}
        if not screened:
            return {}
        return {"seeds": screened if len(self.tasks) > 1 else next(iter(screened.values()))}


def _rate(successes: int, episodes: int) -> dict[str, Any]:
    return {"rate": successes / episodes, "interval": list(wilson(successes, episodes))}


@contextmanager
def open_trials(
    tasks: Sequence[EvaluationTask],
    closed_loop: ClosedLoop | None,
    backbones: Sequence[BackboneChoice],
    teacher: TeacherChoice | None,
    folder: Path,
    title: str,
    device: str,
) -> Iterator[Trials | None]:
    """Yield the trials of ``[policy.closed_loop]``, None without that table; close them at exit.

    ``tasks`` are those of the act stage; trials use their settings, on other seeds.
    """
    if closed_loop is None:
        yield None
        return
    trial_tasks = tuple(_trial_task(task, closed_loop) for task in tasks)
    trials = Trials(
        tasks=trial_tasks,
        backbones=backbones,
        teacher=teacher,
        acted_on=named_seeds(tasks[0].act).accepted,
        folder=folder,
        title=title,
        device=device,
    )
    try:
        yield trials
    finally:
        trials.close()


def _trial_task(task: EvaluationTask, closed_loop: ClosedLoop) -> EvaluationTask:
    act = attrs.evolve(
        task.act,
        episodes=closed_loop.episodes,
        first_seed=closed_loop.first_seed,
        seeds=None,
        videos=0,
        baselines=(),
    )
    return attrs.evolve(task, act=act)
