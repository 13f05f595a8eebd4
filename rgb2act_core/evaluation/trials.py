"""Try a policy in its environment while it is trained, and keep the weights that did best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from torch import nn

from ..errors import UserError
from ..policy.planner import Planner
from ..policy.policy import Policy
from ..store.run import Run
from ..store.stage_folder import BEST
from ..store.tensors import read_tensors, write_tensors
from ..system.progress import task
from ..training import metrics_log
from .seeds import Seeds, choose, named
from .simulator_pool import SimulatorPool
from .success_rate import wilson
from .waves import EpisodeBatch, planner_of, simulators_of

SUCCESS = "act/success"  # the curve's name


@attrs.frozen(eq=False, kw_only=True)
class Trial:
    """Say in which task a policy is tried, and on which seeds."""

    run: Run  # of the task alone
    name: str | None  # None where there is one task
    seeds: Seeds


@attrs.define(eq=False)
class Trials:
    """Try a policy on the same seeds again and again; simulators start with the first trial.

    Those of one task run until the end, those of several only while a task is tried: all of them
    side by side could fill a GPU.
    """

    run: Run  # its [act] says how to act, and on which seeds
    acted_on: Collection[int]  # seeds of the spec's [act], which no trial may meet
    folder: Path
    title: str
    device: str
    planner: Planner | None = None
    simulators: SimulatorPool | None = None
    trials: tuple[Trial, ...] = ()  # one a task

    def attempt(self, module: nn.Module, step: int) -> dict[str, float]:
        """Return the success rate of what was trained up to a step, and keep it if it is the best.

        Of several tasks there are those of each besides, as ``act/success/NAME``; the best is best
        over all. Of weights that did equally well the newest are kept. A resumed training repeats
        its trials and keeps the same weights.
        """
        assert isinstance(module, Policy)
        planner = self._ready(module)
        count = sum(len(trial.seeds.accepted) for trial in self.trials)
        with task(f"{self.title} trial", count, "episodes") as advance:
            successes = [self._played(trial, planner, advance) for trial in self.trials]
        place = self.folder / BEST
        if not place.exists() or sum(successes) >= sum(read_tensors(place)[1]["successes"]):
            write_tensors(place, module.state_dict(), {"step": step + 1, "successes": successes})
        each = {
            f"{SUCCESS}/{trial.name}": won / len(trial.seeds.accepted)
            for trial, won in zip(self.trials, successes, strict=True)
            if trial.name
        }
        return {SUCCESS: sum(successes) / count} | each

    def _played(self, trial: Trial, planner: Planner, advance: Callable[..., None]) -> int:
        """Return how many of a task's episodes succeeded."""
        seeds, told, tries = list(trial.seeds.accepted), trial.seeds.told, self.run.spec.act
        won = 0
        with self._lent(trial.run, planner) as simulators:
            for first in range(0, len(seeds), planner.batch):
                part = seeds[first : first + planner.batch]
                known = {seed: told[seed] for seed in part if seed in told}
                wave = EpisodeBatch(tries, planner, simulators, part, {}, known, trial.name)
                won += sum(episode["success"] for episode in wave.play(advance))
        return won

    @contextmanager
    def _lent(self, alone: Run, planner: Planner) -> Iterator[SimulatorPool]:
        if self.simulators is None:
            self.simulators = simulators_of(alone, planner)
        yield self.simulators
        if len(self.trials) > 1:
            self.close()

    def close(self) -> None:
        """End the simulators, if any run."""
        if self.simulators is not None:
            self.simulators.close()
            self.simulators = None

    def _ready(self, policy: Policy) -> Planner:
        self._choose(policy)
        if self.planner is None:
            self.planner = planner_of(self.run, policy, self.device)
        self.planner.policy = policy
        return self.planner

    def _choose(self, policy: Policy) -> None:
        if self.trials:
            return
        alone = self.run.tasks
        names = policy.shape.tasks if len(alone) > 1 else (None,)
        self.trials = tuple(
            Trial(run=run, name=name, seeds=self._chosen(run))
            for run, name in zip(alone, names, strict=True)
        )

    def _chosen(self, run: Run) -> Seeds:
        """Return the seeds of a task's trials; UserError where accepted ones go too far."""
        seeds = choose(run, place="policy.closed_loop")
        if met := [seed for seed in seeds.accepted if seed in self.acted_on]:
            raise UserError(
                f"policy.closed_loop.first_seed: {run.spec.act.start}; so many seeds from there on"
                f" were not accepted that {met[0]}, which [act] acts on, is the next; begin earlier"
            )
        return seeds

    def take_best(self, module: nn.Module) -> dict[str, Any]:
        """Give a module the weights that did best and return when that was and how well."""
        assert isinstance(module, Policy)
        self._choose(module)
        tensors, meta = read_tensors(self.folder / BEST)
        module.load_state_dict(tensors)
        rows = metrics_log.read(self.folder / "metrics.jsonl")
        tries = self.run.spec.act
        each = [_rate(won, tries.episodes) for won in meta["successes"]]
        named = dict(zip(module.shape.tasks, each, strict=True)) if len(each) > 1 else {}
        return {
            "step": meta["step"],
            **_rate(sum(meta["successes"]), tries.episodes * len(each)),
            **({"tasks": named} if named else {}),
            "first_seed": tries.start,
            **self._screened(),
            "trials": [[row["step"] + 1, row[SUCCESS]] for row in rows if SUCCESS in row],
        }

    def _screened(self) -> dict[str, Any]:
        """Return which seeds were accepted and which were not, where an environment tells."""
        told = {trial.name: trial.seeds.summary() for trial in self.trials if trial.seeds.source}
        if not told:
            return {}
        return {"seeds": told if len(self.trials) > 1 else next(iter(told.values()))}


def _rate(successes: int, episodes: int) -> dict[str, Any]:
    return {"rate": successes / episodes, "interval": list(wilson(successes, episodes))}


@contextmanager
def trials_of(run: Run, folder: Path, title: str, device: str) -> Iterator[Trials | None]:
    """Lend what tries a run's policy while it is trained, if the spec says so."""
    wanted = run.spec.policy.closed_loop
    if wanted is None:
        yield None
        return
    tries = attrs.evolve(
        run.spec.act,
        episodes=wanted.episodes,
        first_seed=wanted.first_seed,
        seeds=None,
        videos=0,
        baselines=(),
    )
    trying = attrs.evolve(run, spec=attrs.evolve(run.spec, act=tries))
    trials = Trials(
        run=trying,
        acted_on=named(run.spec.act).accepted,
        folder=folder,
        title=title,
        device=device,
    )
    try:
        yield trials
    finally:
        trials.close()
