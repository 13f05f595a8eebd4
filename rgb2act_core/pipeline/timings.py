"""How long stages took on this machine, which ``check`` forecasts from.

Each kind of work has one small JSON file in ``store/timings``, replaced atomically by the run that
finished last. Only forecasts depend on these files: a read-only store or a damaged file makes a
forecast unknown and stops nothing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces import EnvironmentInfo
from ..spec import BackboneChoice, TeacherChoice
from ..spec.requirements import align_of, distill_of, policy_backbones
from ..stages.run import Run
from ..store.file_digests import cache_folder
from ..store.files import read_json, write_json
from ..store.keys import canonical, key_of
from ..store.stage_id import Stage, StageId
from ..system.devices import core_count, peak_memory, processor, workers_of

Work = Mapping[str, Any]  # what the speed of a stage depends on
ENOUGH_UNITS = 100  # a run of fewer units does not replace the timing of a longer one


@attrs.define
class Timer:
    """Measures wall and CPU seconds, those of worker processes included."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Add the time that the block takes."""
        wall, cpu = time.monotonic(), _cpu_seconds()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - wall
            self.cpu_seconds += _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@attrs.frozen(kw_only=True)
class Timing:
    """What some work took when it last ran."""

    units: int  # frames, steps or episodes, depending on the stage
    seconds: float
    bytes: int  # written
    memory: int  # peak resident memory of the process until then, in bytes

    def seconds_for(self, units: int) -> float:
        """Return the time that ``units`` take at the same speed."""
        return units * self.seconds / self.units


@attrs.frozen(kw_only=True)
class Workload:
    """The work of a stage and how much of it there is."""

    work: Work
    units: int
    unit: str  # "steps" or "episodes"


def machine(run: Run) -> str:
    """Return the hardware that decides the speed: the GPU, or the processor and its cores."""
    if run.spec.compute.device != "cpu" and (torch := sys.modules.get("torch")):
        with contextlib.suppress(RuntimeError, AssertionError):
            if torch.cuda.is_available():
                return str(torch.cuda.get_device_name())
    threads = run.spec.compute.threads or os.environ.get("OMP_NUM_THREADS", "")
    return f"{processor()}, {core_count()} cores, {threads or 'all'} threads"


def measured(run: Run) -> Run:
    """Return the run with the timings of short measurements, which are in the user's cache."""
    return attrs.evolve(run, root=cache_folder() / "measured")


def keep_measured(run: Run) -> None:
    """Copy the timings of a short run to those of ``measured``."""
    kept = measured(run).store / "timings"
    with contextlib.suppress(OSError):
        if (run.store / "timings").is_dir():
            shutil.copytree(run.store / "timings", kept, dirs_exist_ok=True)


def save_timing(run: Run, work: Work, units: int, seconds: float, written: int = 0) -> None:
    """Store what some work took, unless a longer run of the same work is stored."""
    before = load_timing(run, work)
    if units < 1 or (before and units < min(before.units, ENOUGH_UNITS)):
        return
    timing = Timing(units=units, seconds=seconds, bytes=written, memory=peak_memory())
    path = _path(run, work)
    with contextlib.suppress(UserError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, attrs.asdict(timing) | {"subject": dict(work)})


def save_stage_timing(run: Run, stage: StageId, folder: Path, seconds: float) -> None:
    """Store what a stage from ``align`` to ``act`` took.

    Baselines train for a time, not for steps, so that nothing is stored for them.
    ``folder`` is the stage's output, whose size is stored too.
    """
    if stage.variant:
        return
    workload = workload_of(run, stage.stage)
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    save_timing(run, workload.work, workload.units, seconds, written)


def load_timing(run: Run, work: Work) -> Timing | None:
    """Return what some work took on this machine; None if that is unknown."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        data = read_json(_path(run, work))
        timing = Timing(
            units=int(data["units"]),
            seconds=float(data["seconds"]),
            bytes=int(data["bytes"]),
            memory=int(data["memory"]),
        )
        return timing if timing.units > 0 and timing.seconds >= 0 else None
    return None


def _path(run: Run, work: Work) -> Path:
    return run.store / "timings" / f"{work['stage']}-{key_of(work)}.json"


def workload_of(run: Run, stage: Stage) -> Workload:
    """Return the workload of ``align``, ``distill``, ``train`` or ``act``.

    Raises ValueError for other stages, whose work is counted in frames.
    """
    spec = run.spec
    if stage is Stage.ALIGN:
        return Workload(work=align_work(run), units=align_of(spec).steps, unit="steps")
    if stage is Stage.DISTILL:
        steps = distill_of(spec).steps
        return Workload(work=distill_work(run), units=steps, unit="steps")
    if stage is Stage.TRAIN:
        return Workload(work=train_work(run), units=spec.policy.steps, unit="steps")
    if stage is Stage.ACT:
        episodes = spec.act.episodes * len(run.tasks)
        return Workload(work=act_work(run), units=episodes, unit="episodes")
    raise ValueError(f"{stage} has no workload of its own")


def collect_work(run: Run) -> Work:
    """Return what the speed of recording depends on; its units are frames."""
    return {
        "stage": Stage.COLLECT,
        "environment": canonical(run.spec.environment),
        "workers": workers_of(run.spec.compute.simulator_workers),
        "machine": machine(run),
    }


def extract_work(
    run: Run,
    choice: BackboneChoice | TeacherChoice | tuple[BackboneChoice, ...],
    info: EnvironmentInfo,
) -> Work:
    """Return what the speed of an extraction depends on; its units are frames.

    ``choice`` is a backbone, a teacher, or all backbones of an aligner.
    """
    return {
        "stage": Stage.EXTRACT,
        "component": canonical(choice),
        "cameras": len(info.cameras),
        "image": list(info.image),
        "machine": machine(run),
    }


def align_work(run: Run) -> Work:
    """Return what the speed of aligning depends on; its units are steps."""
    align = canonical(align_of(run.spec))
    del align["steps"]
    backbones = [canonical(choice) for choice in run.spec.backbone]
    return {"stage": Stage.ALIGN, "align": align, "backbones": backbones, "machine": machine(run)}


def distill_work(run: Run) -> Work:
    """Return what the speed of distilling depends on; its units are steps."""
    distill = canonical(attrs.evolve(distill_of(run.spec), images=None))
    del distill["steps"], distill["head"], distill["images"]
    return {
        "stage": Stage.DISTILL,
        "distill": distill,
        "fused": run.spec.policy.observes.fused,
        "environment": canonical(run.spec.environment),
        "machine": machine(run),
    }


def train_work(run: Run) -> Work:
    """Return what the speed of training depends on; its units are steps."""
    policy = canonical(run.spec.policy)
    del policy["steps"]
    work: dict[str, Any] = {
        "stage": Stage.TRAIN,
        "policy": policy,
        "backbones": [canonical(choice) for choice in policy_backbones(run.spec)],
        "machine": machine(run),
    }
    if run.spec.policy.observes.trains_aligner:  # its steps compute the aligner too
        work["align"] = align_work(run)["align"]
    return work


def act_work(run: Run) -> Work:
    """Return what the speed of acting depends on; its units are episodes."""
    return {
        "stage": Stage.ACT,
        "environment": canonical(run.spec.environment),
        "policy": canonical(run.spec.policy),
        "backbones": [canonical(choice) for choice in policy_backbones(run.spec)],
        "batch": run.spec.act.parallel_episodes,
        "workers": workers_of(run.spec.compute.simulator_workers),
        "machine": machine(run),
    }
