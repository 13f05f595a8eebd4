"""``rgb2act check``: whether a spec is compatible, which stages are cached, and what is left.

No stage runs: ``check`` shows in seconds what a run would do, write and take.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset
from ..errors import Problems, UserError
from ..features.reader import stored_grids
from ..features.token_grids import check_token_count, finest
from ..interfaces import Finding
from ..spec import Spec
from ..spec.requirements import has_aligner_stage, has_student_stage, stores_aligned
from ..stages import collect
from ..stages.image_packs import missing_images
from ..stages.keys import (
    act_folder,
    align_folder,
    check_given_aligner,
    policy_folder,
    stored_features,
    student_folder,
)
from ..stages.run import Run
from ..stages.tasks import Task, Tasks, dataset_of, open_tasks
from ..store.root_folder import check_root, existing, resolved
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId, StageState, StageStatus
from ..system.formatting import counted, format_bytes
from .buildable import check_buildable
from .data_checks import check_data
from .extractions import Stored, encoded_by, extractions, unneeded_extractions
from .forecast import Forecast, forecast
from .kept_sizes import KeptSizes, kept_sizes
from .preflight import check_clouds, check_compatibility


@attrs.frozen(kw_only=True)
class CheckResult:
    """The state of a run's stages and a forecast of the disk space and time it needs."""

    name: str
    stages: tuple[Forecast, ...]
    frames: int  # of all episodes; an estimate until they are recorded
    bytes_free: int
    findings: tuple[Finding, ...] = ()  # about the demonstrations, if they are recorded
    kept: KeptSizes | None = None  # of a frozen aligner's features; None if not known

    @property
    def bytes_needed(self) -> int:
        """Bytes that the stages will write, as far as that is known."""
        return sum(stage.bytes or 0 for stage in self.stages)

    @property
    def seconds_needed(self) -> float:
        """Seconds that the stages will take, as far as that is known."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def unknown_bytes(self) -> tuple[StageId, ...]:
        """Stages whose output size is unknown."""
        return tuple(stage.status.id for stage in self.stages if stage.bytes is None)

    @property
    def unknown_seconds(self) -> tuple[StageId, ...]:
        """Stages whose duration is unknown."""
        return tuple(stage.status.id for stage in self.stages if stage.seconds is None)

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        return {
            "name": self.name,
            "stages": [stage.to_json() for stage in self.stages],
            "frames": self.frames,
            "bytes_needed": self.bytes_needed,
            "bytes_free": self.bytes_free,
            "seconds_needed": self.seconds_needed,
            "unknown_bytes": list(map(str, self.unknown_bytes)),
            "unknown_seconds": list(map(str, self.unknown_seconds)),
            "kept_bytes": None if self.kept is None else attrs.asdict(self.kept),
            "findings": [attrs.asdict(finding) for finding in self.findings],
        }


def check(spec: Spec, root: Path, timed: bool = False) -> CheckResult:
    """Check a spec against its environment and store without running a stage.

    ``timed`` measures the speed of stages that have not run on this machine, see ``forecast``.
    Raises UserError if the spec does not fit its environment or the disk has too little space.
    """
    check_root(root := resolved(root))
    tasks = open_tasks(Run(spec=spec, root=root))
    run = tasks.run
    problems, findings = Problems(), tuple[Finding, ...]()
    with problems.collected():
        check_compatibility(run.spec, tasks.info)
    with problems.collected():
        check_given_aligner(run)
    if stores_aligned(run.spec):  # keys of later stages need its aligner
        problems.raise_any()
    data = dataset_of(tasks)
    if data is not None:
        with problems.collected():
            check_clouds(run.spec, data)
            findings = check_data(tasks, data)
    if data is not None and run.spec.align is not None:
        grids = stored_grids(stored_features(run), data.episodes)
        if grids:
            with problems.collected():
                check_token_count(run.spec.align, finest(grids))
    statuses = stage_states(run, tasks, data)
    if not tasks.info.acts:
        statuses = tuple(status for status in statuses if status.id.stage is not Stage.ACT)
    shapes = None
    if any(status.state.pending for status in statuses):
        with problems.collected():
            shapes = check_buildable(run.spec, tasks.info, root, statuses, download=False)
    problems.raise_any()
    stages, frames = forecast(run, tasks, data, statuses, timed)
    kept = None if shapes is None else kept_sizes(run, tasks.info, shapes, frames)
    free = shutil.disk_usage(existing(root)).free
    result = CheckResult(
        name=run.spec.name,
        stages=stages,
        frames=frames,
        bytes_free=free,
        findings=findings,
        kept=kept,
    )
    if result.bytes_needed > free:
        raise UserError(
            f"{root}: the run needs about {format_bytes(result.bytes_needed)}, but only"
            f" {format_bytes(free)} are free; free some space or choose another folder with --root"
        )
    return result


def stage_states(run: Run, tasks: Tasks, data: Dataset | None) -> tuple[StageStatus, ...]:
    """Return the state of each stage, in order. ``data`` is None while demonstrations are missing.

    Stages after ``collect`` depend on the data, so those that the run needs wait for it.
    """
    images = 0 if data is not None else missing_images(run, tasks.info)
    collected = [
        _collect_status(tasks.stage_id(Stage.COLLECT, task), task, images if i == 0 else 0)
        for i, task in enumerate(tasks)
    ]
    unneeded = [StageStatus(id, StageState.NOT_NEEDED) for id in unneeded_extractions(run)]
    distilled = () if run.spec.distill is None else (Stage.DISTILL,)
    trained = (Stage.ALIGN, *distilled, Stage.TRAIN, Stage.ACT)
    if data is None:
        later = [*(e.id for e in extractions(run)), *map(StageId, trained)]
        waiting = (StageStatus(id, _state_without_data(run.spec, id)) for id in later)
        return (*collected, *unneeded, *waiting)
    extracted = [_extract_status(e.id, e.stored, data) for e in extractions(run)]
    aligner = align_folder(run, data)
    student = student_folder(run, data, aligner)
    policy = None if run.spec.act.replay else policy_folder(run, data, aligner, student)
    students = (student,) if distilled else ()
    folders = (aligner, *students, policy, act_folder(run, data, policy, student))
    states = map(_folder_state, folders)
    later_statuses = map(StageStatus, map(StageId, trained), states)
    return (*collected, *unneeded, *extracted, *later_statuses)


def _collect_status(id: StageId, task: Task, images: int) -> StageStatus:
    """Return the state of recording; ``images`` unlabelled ones are not stored yet."""
    episodes, scenes = collect.missing(task.run, task.environment)
    if not episodes and not scenes and not images:
        return StageStatus(id, StageState.CACHED)
    remaining = f"{counted(episodes, 'demonstration')}, {counted(scenes, 'scene')} to record"
    if images:
        remaining += f", {counted(images, 'image')} to store"
    return StageStatus(id, StageState.INCOMPLETE, remaining)


def _state_without_data(spec: Spec, id: StageId) -> StageState:
    needed = {
        Stage.ALIGN: has_aligner_stage(spec),
        Stage.DISTILL: has_student_stage(spec),
        Stage.TRAIN: not spec.act.replay,
    }
    return StageState.WAITS if needed.get(id.stage, True) else StageState.NOT_NEEDED


def _extract_status(id: StageId, stored: Stored, data: Dataset) -> StageStatus:
    left = len(stored.missing(encoded_by(stored, data)))
    if not left:
        return StageStatus(id, StageState.CACHED)
    return StageStatus(id, StageState.INCOMPLETE, f"{counted(left, 'episode')} to encode")


def _folder_state(folder: StageFolder | None) -> StageState:
    if folder is None:
        return StageState.NOT_NEEDED
    if folder.done:
        return StageState.CACHED
    return StageState.RESUMES if folder.partial.exists() else StageState.RUNS
