"""Run one stage with its own folder: announce it, do its work, commit and record it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from ..store.disk_errors import guard
from ..store.files import read_json
from ..store.keys import difference
from ..store.run_file import StageRecord
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId, StageState
from ..system.memory import is_out_of_memory
from ..system.progress import say
from ..tracking.tracker import Tracker
from ..training.metrics_log import Curves
from .logged_results import send_stage
from .run_record import RunRecord
from .timings import Timer, save_stage_timing

SHOWN_CHANGES = 4  # changed inputs that a reason lists

LOWER = {
    Stage.COLLECT: "compute.simulator_workers",
    Stage.EXTRACT: "extract.batch_size or the size of the backbone",
    Stage.TEACHER: "extract.batch_size or the size of the teacher",
    Stage.ALIGN: "align.batch_size, align.token_dim or align.keypoint_maps, or set align.tokens",
    Stage.DISTILL: "distill.batch_size or the sizes of distill.student",
    Stage.TRAIN: "policy.batch_size, policy.horizon or the sizes of policy.head, or, with"
    " end_to_end or finetuned, set align.tokens",
    Stage.ACT: "act.parallel_episodes, act.candidates or compute.simulator_workers",
}  # what reduces the memory of a stage

StageWork = Callable[[Path, Curves], dict[str, Any]]  # (output folder, learning curves) -> results


def run_stage(
    record: RunRecord, tracker: Tracker, stage: StageId, target: StageFolder, work: StageWork
) -> None:
    """Run a stage under its lock unless it is cached, record it and send it to the loggers."""
    timer, reason = Timer(), ""
    curves = tracker.stage(stage.title, target.key)
    if not target.done:
        with target.lock():
            if not target.done:  # another run may have finished it while this one waited
                reason = _reason(record, stage, target)
                announce(stage, reason)
                resumed = target.partial.exists()
                finish(stage, target, timer, lambda folder: work(folder, curves))
                if not resumed:
                    save_stage_timing(record.run, stage, target.path, timer.seconds)
    if not reason:
        meta = target.meta()
        _check_models(target.path)
        timer = Timer(meta["seconds"], meta["cpu_seconds"])
        announce(stage)
    send_stage(tracker, stage, target)
    record_stage(record, stage, target.key, target.path, timer, reason)


def finish(
    stage: StageId, target: StageFolder, timer: Timer, work: Callable[[Path], dict[str, Any]]
) -> None:
    """Do a stage's work in its partial folder and commit the folder."""
    folder = target.open()
    with timer.measure(), guard(folder, sockets=True), _stage_in_traceback(stage):
        results = work(folder)
    target.commit(seconds=timer.seconds, cpu_seconds=timer.cpu_seconds, results=results)


def announce(stage: StageId, reason: str = "") -> None:
    """Print why a stage runs or, without a reason, that it is cached."""
    say(f"{stage}: {f'runs ({reason})' if reason else StageState.CACHED}")


def record_stage(
    record: RunRecord,
    stage: StageId,
    key: str,
    path: Path,
    timer: Timer,
    reason: str,
    scenes: Path | None = None,
) -> None:
    """Record a stage that ran or, without a reason, that was cached.

    ``scenes`` is the folder of the recorded scenes, if there are any.
    """
    record.add(
        StageRecord(
            id=stage,
            key=key,
            path=str(path.relative_to(record.run.root)),
            cached=not reason,
            reason=reason,
            seconds=round(timer.seconds, 2),
            cpu_seconds=round(timer.cpu_seconds, 2),
            scenes="" if scenes is None else str(scenes.relative_to(record.run.root)),
        )
    )


def _check_models(folder: Path) -> None:
    """Raise UserError if a cached stage has a model whose weights were altered."""
    if any(folder.glob("*.safetensors")):
        from ..store.model_files import check_models

        check_models(folder)


@contextlib.contextmanager
def _stage_in_traceback(stage: StageId) -> Iterator[None]:
    """Add the stage to the traceback of a bug."""
    try:
        yield
    except UserError:
        raise
    except Exception as err:
        if is_out_of_memory(err):
            raise UserError(
                f"{stage}: out of memory ({first_line(err, 200)}); lower {LOWER[stage.stage]}"
            ) from err
        err.add_note(f"in stage {stage}")
        raise


def _reason(record: RunRecord, stage: StageId, target: StageFolder) -> str:
    """Return why a stage has no finished output."""
    if target.partial.exists():
        return "resumes an interrupted run"
    before = record.previous.get(stage)
    if before is None:
        return "no cached output"
    with contextlib.suppress(UserError, KeyError):
        old = read_json(record.run.root / before.path / "stage.json")["inputs"]
        changes = difference(old, target.inputs)
        more = " ..." if len(changes) > SHOWN_CHANGES else ""
        return "; ".join(changes[:SHOWN_CHANGES]) + more
    return "its output was deleted"
