"""Check: what can be known before hours are spent.

Static fit of spec and environment, which stages are cached, and what disk and time the run needs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs

from ..data.dataset import Dataset, missing
from ..errors import UserError
from ..features.reader import stored_grids
from ..features.token_grids import check_token_count, finest
from ..spec import Spec
from ..spec.conditions import needed_backbones, replays, taught
from ..stages import collect
from ..stages.keys import (
    act_folder,
    align_folder,
    policy_folder,
    stored_embeddings,
    stored_features,
)
from ..stages.tasks import Task, Tasks, dataset_of, open_tasks
from ..store.run import Run
from ..store.stage_folder import StageFolder
from .forecast import Forecast, forecast
from .preflight import check_compatibility


@attrs.frozen(kw_only=True)
class CheckResult:
    """Hold what ``check`` found."""

    name: str
    stages: tuple[Forecast, ...]
    frames: int  # of all episodes, an estimate while they are not recorded
    bytes_needed: int  # what is known of
    bytes_free: int
    seconds_needed: float  # what is known of
    unknown_bytes: tuple[str, ...]  # stages that are not counted in
    unknown_seconds: tuple[str, ...]


def check(spec: Spec, root: Path, timed: bool = False) -> CheckResult:
    """Check a spec against its environment and store without running anything.

    ``timed`` measures backbones and teacher on a few frames, where the past tells no speed.
    """
    run = Run(spec=spec, root=root.resolve())
    tasks = open_tasks(run)
    run, spec = tasks.run, tasks.run.spec
    check_compatibility(spec, tasks.info)
    data = dataset_of(tasks)
    if data is not None and (grids := stored_grids(stored_features(run), data.sources)):
        check_token_count(run.spec.align, finest(grids))
    states = dict(stage_states(run, tasks, data))
    if not tasks.info.acts:
        del states["act"]  # it cannot run
    stages, frames = forecast(run, tasks, data, states, timed)
    result = CheckResult(
        name=spec.name,
        stages=stages,
        frames=frames,
        bytes_needed=sum(stage.bytes or 0 for stage in stages),
        bytes_free=shutil.disk_usage(_existing(root)).free,
        seconds_needed=sum(stage.seconds or 0.0 for stage in stages),
        unknown_bytes=tuple(stage.stage for stage in stages if stage.bytes is None),
        unknown_seconds=tuple(stage.stage for stage in stages if stage.seconds is None),
    )
    if result.bytes_needed > result.bytes_free:
        raise UserError(
            f"{root}: the run needs about {result.bytes_needed / 1e9:.1f} GB,"
            f" {result.bytes_free / 1e9:.1f} GB are free; free some space or choose another"
            " folder with --root"
        )
    return result


def stage_states(run: Run, tasks: Tasks, data: Dataset | None) -> tuple[tuple[str, str], ...]:
    """Return each stage, and whether it is cached or why it runs."""
    spec = run.spec
    needed = stored_features(run, needed_backbones(spec))
    folders = {f"extract/{features.label}": features.folder for features in needed}
    if taught(spec):
        embeddings = stored_embeddings(run)
        folders[f"teacher/{embeddings.label}"] = embeddings.folder
    states = {tasks.label("collect", task): _recorded(task) for task in tasks}
    if data is None:
        waiting = dict.fromkeys([*folders, "align", "train", "act"], "waits for collect")
        return tuple((states | waiting).items())
    for stage, folder in folders.items():
        left = len(missing(folder, data.sources))
        states[stage] = f"{left} episodes to encode" if left else "cached"
    aligner = align_folder(run, data)
    policy = policy_folder(run, data, aligner)
    states["align"] = _state(aligner) if aligner else "not needed"
    states["train"] = "not needed" if replays(spec) else _state(policy)
    states |= {"act": _state(act_folder(run, policy))}
    return tuple(states.items())


def _recorded(task: Task) -> str:
    episodes, packs = collect.missing(task.run) if task.info.demonstrates else (0, 0)
    if not episodes and not packs:
        return "cached"
    return f"{episodes} demonstrations, {packs} packs of scenes to record"


def _state(folder: StageFolder) -> str:
    if folder.done:
        return "cached"
    return "resumes" if folder.partial.exists() else "runs"


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
