"""Evaluate the policy of a finished run again, with other seeds or settings of ``[act]``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset
from ..errors import UserError
from ..spec import Spec
from ..stages.keys import act_folder, align_folder, policy_folder
from ..stages.run import Run
from ..stages.tasks import Tasks
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId
from .preflight import check_compatibility
from .run_record import open_dataset, read_run
from .stage_runner import finish
from .timings import Timer


def act_again(folder: Path, change: Callable[[Spec], Spec]) -> dict[str, Any]:
    """Evaluate a finished run's policy with another ``[act]`` or ``[compute]``.

    Returns the results, which are cached in the store like those of a run. The run's own record
    and report do not change.
    """
    tasks, data = open_dataset(read_run(folder))
    trained = tasks.run
    policy = None
    if not trained.spec.act.replay:
        policy = policy_folder(trained, data, align_folder(trained, data))
    if policy is not None and not policy.done:
        raise UserError(f"{folder}: the policy is not trained yet; run the spec first")
    run = attrs.evolve(trained, spec=change(trained.spec))
    check_compatibility(run.spec, tasks.info)
    target = act_folder(run, data, policy)
    with target.lock():
        if not target.done:
            finish(StageId(Stage.ACT), target, Timer(), acting(run, tasks, data, policy))
    results: dict[str, Any] = target.meta()["results"]
    return results


def acting(
    run: Run, tasks: Tasks, data: Dataset, policy: StageFolder | None
) -> Callable[..., dict[str, Any]]:
    """Return the function that evaluates the policy, or, without one, replays the data."""
    if policy is None:
        from ..stages.replay import replay

        return functools.partial(replay, run, tasks, data)
    from ..stages.act import act

    return functools.partial(act, run, tasks, policy.path)
