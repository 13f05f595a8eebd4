"""The tasks of a run: the environment of each, what all have in common, and their data set.

Everything that concerns one task alone works on a run of that task alone, so that a task's
episodes are the same, and in the same folder, whatever other tasks a run has besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset, join_tasks
from ..errors import UserError, near
from ..interfaces import Environment, EnvironmentInfo
from ..plugins.components import Capability
from ..spec import Spec
from ..store.files import guard
from ..store.run import Run, TaskRun
from ..store.stage_id import Stage, StageId
from . import collect

ALIKE = {"cameras": "cameras of {} are", "image": "image size of {} is"}
ALIKE |= {"action_names": "action names of {} are"}  # field of the info, what to call it


@attrs.frozen(eq=False, kw_only=True)
class Task:
    """Bind a task's name, a run of it alone, and its environment."""

    name: str
    run: TaskRun
    environment: Environment

    @property
    def info(self) -> EnvironmentInfo:
        """Return what the task's environment shows and takes."""
        return self.environment.info

    def can(self, capability: Capability) -> bool:
        """Return whether the environment has a capability."""
        return self.run.environment.can(capability)

    def publish(self, folder: Path, results: Mapping[str, Any]) -> None:
        """Write results as the environment's own evaluation does, if it has a format of its own."""
        if not self.can(Capability.RESULTS_PUBLISHER):
            return
        publisher: Any = self.environment
        with guard(folder):
            publisher.publish(folder, self.run.spec.name, results)


@attrs.frozen(eq=False, kw_only=True)
class Tasks:
    """Hold the tasks of a run, in the spec's order, and what is so in all of them."""

    run: Run  # of all, with the seeds that its environments have of their own
    each: tuple[Task, ...]
    info: EnvironmentInfo

    def __iter__(self) -> Iterator[Task]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each task."""
        return tuple(task.name for task in self.each)

    def stage_id(self, stage: Stage, task: Task) -> StageId:
        """Return the id of a stage that runs once per task; the variant is the task's name."""
        return StageId(stage, "" if len(self) == 1 else task.name)


def open_tasks(run: Run) -> Tasks:
    """Build the environment of each task.

    Raises UserError when they do not go together, or when the spec weighs a task that is not there.
    """
    environments: list[Environment] = [choice.build() for choice in run.spec.environments]
    infos = [environment.info for environment in environments]
    names = names_of(infos)
    check_alike(names, infos)
    _check_weights(run.spec, names)
    run = _seeded(run, environments[0])
    return Tasks(
        run=run,
        each=tuple(
            Task(name=name, run=alone, environment=environment)
            for name, alone, environment in zip(names, run.tasks, environments, strict=True)
        ),
        info=common(names, infos),
    )


def _seeded(run: Run, environment: Any) -> Run:
    """Return the run with the seeds that the environment has of its own, if the spec names none."""
    spec = run.spec
    if not spec.environments[0].can(Capability.SEED_SCREENING):
        return run
    act, collect = spec.act, spec.collect
    if act.first_seed is None and not act.replay:
        act = attrs.evolve(act, first_seed=environment.first_seed(spec.seed))
    if collect.first_seed is None:
        collect = attrs.evolve(collect, first_seed=0)
    return attrs.evolve(run, spec=attrs.evolve(spec, act=act, collect=collect))


def names_of(infos: Sequence[EnvironmentInfo]) -> tuple[str, ...]:
    """Return a name for each task: the environment's, numbered where several say the same."""
    names = [info.task for info in infos]
    return tuple(
        name if names.count(name) == 1 else f"{name}-{names[:i].count(name)}"
        for i, name in enumerate(names)
    )


def check_alike(names: Sequence[str], infos: Sequence[EnvironmentInfo]) -> None:
    """Raise UserError naming every task that one policy cannot learn beside the first."""
    problems = [
        f"environment: {what.format(names[0])} {getattr(infos[0], field)!r}, of {name}"
        f" {getattr(info, field)!r}; one policy needs the same in every task"
        for name, info in zip(names[1:], infos[1:], strict=True)
        for field, what in ALIKE.items()
        if getattr(info, field) != getattr(infos[0], field)
    ]
    if problems:
        raise UserError(*problems)


def _check_weights(spec: Spec, names: Sequence[str]) -> None:
    problems = [
        f"{table}.task_weights: there is no task {name!r}{near(name, names)}; the run has"
        f" {', '.join(names)}"
        for table, weights in (
            ("align", spec.align.task_weights),
            ("policy", spec.policy.task_weights),
        )
        for name in weights
        if name not in names
    ]
    if problems:
        raise UserError(*problems)


def common(names: Sequence[str], infos: Sequence[EnvironmentInfo]) -> EnvironmentInfo:
    """Return what a run's environments show and take together; of one it is that one's."""
    first, *others = infos
    if not others:
        return first
    return attrs.evolve(
        first,
        task=", ".join(names),
        max_steps=max(info.max_steps for info in infos),
        demonstrates=any(info.demonstrates for info in infos),
        acts=all(info.acts for info in infos),
        state_names=tuple(
            name for name in first.state_names if all(name in o.state_names for o in others)
        ),
    )


def dataset_of(tasks: Tasks) -> Dataset | None:
    """Return the data set of all tasks when it is complete, else None."""
    parts = [collect.dataset_of(task.run, task.environment) for task in tasks]
    whole = [part for part in parts if part is not None]
    return join_tasks(tasks.names, whole) if len(whole) == len(parts) else None
