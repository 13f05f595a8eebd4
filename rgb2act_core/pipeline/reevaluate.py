"""Try a finished run's policy once more, with another ``[act]``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset
from ..errors import UserError
from ..spec import Spec
from ..spec.conditions import replays
from ..stages.keys import act_folder, align_folder, policy_folder
from ..stages.tasks import Tasks
from ..store.run import Run
from ..store.stage_folder import StageFolder
from .preflight import check_compatibility
from .run_record import Timer
from .stage_runner import finish


def act_again(folder: Path, change: Callable[[Spec], Spec]) -> dict[str, Any]:
    """Try a finished run's policy with another ``[act]`` or ``[compute]``; return the results.

    They are kept in the store like those of a run, which itself stays as it is.
    """
    from .runs import open_run

    done, _, tasks, data = open_run(folder)
    policy = policy_folder(done, data, align_folder(done, data))
    if not policy.done and not replays(done.spec):
        raise UserError(f"{folder}: its policy is not trained yet; run the spec first")
    run = attrs.evolve(done, spec=change(done.spec))
    check_compatibility(run.spec, tasks.info)
    target = act_folder(run, policy)
    with target.lock():
        if not target.done:
            finish("act", target, Timer(), trials(run, tasks, data, policy))
    results: dict[str, Any] = target.meta()["results"]
    return results


def trials(
    run: Run, tasks: Tasks, data: Dataset, policy: StageFolder
) -> Callable[..., dict[str, Any]]:
    """Return what tries the policy in a folder, or plays recorded actions in place of it."""
    if replays(run.spec):
        from ..stages.replay import replay

        return functools.partial(replay, run, tasks, data)
    from ..stages.act import act

    return functools.partial(act, run, tasks, policy.path)
