"""What stages took on this machine: the past that ``check`` predicts from.

One small JSON file a subject in ``store/speeds``, written whole by whoever ran last. Nothing but
predictions depends on it, so a store that cannot be written or a damaged file costs only those.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces import EnvironmentInfo
from ..spec import BackboneChoice, TeacherChoice
from ..spec.conditions import seen_backbones
from ..store.files import read_json, write_json
from ..store.keys import canonical, key_of
from ..store.run import Run
from ..system.devices import core_count, peak_memory, processor, workers_of

Subject = Mapping[str, Any]
ENOUGH = 100  # units; a shorter run does not replace what a longer one showed


@attrs.frozen(kw_only=True)
class Past:
    """Say what a stage took when it last ran."""

    units: int  # frames, steps or episodes, as the stage counts
    seconds: float
    bytes: int  # written
    memory: int  # bytes, largest resident size of the process until then


def machine(run: Run) -> str:
    """Return what decides speed: the GPU's name, or the processor's and how many cores it lends."""
    if run.spec.compute.device != "cpu" and (torch := sys.modules.get("torch")):
        with contextlib.suppress(RuntimeError, AssertionError):
            if torch.cuda.is_available():
                return str(torch.cuda.get_device_name())
    threads = run.spec.compute.threads or os.environ.get("OMP_NUM_THREADS", "")
    return f"{processor()}, {core_count()} cores, {threads or 'all'} threads"


def note(run: Run, subject: Subject, units: int, seconds: float, written: int = 0) -> None:
    """Remember what a stage took; a short run does not replace what a long one showed."""
    before = recall(run, subject)
    if units < 1 or (before and units < min(before.units, ENOUGH)):
        return
    past = Past(units=units, seconds=seconds, bytes=written, memory=peak_memory())
    place = _place(run, subject)
    with contextlib.suppress(UserError, OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, attrs.asdict(past) | {"subject": dict(subject)})


def note_stage(run: Run, stage: str, folder: Path, seconds: float) -> None:
    """Remember what align, train or act took; baselines train for a time, not a count of steps."""
    known = {
        "align": (of_align, run.spec.align.steps),
        "train": (of_train, run.spec.policy.steps),
        "act": (of_act, run.spec.act.episodes * len(run.tasks)),
    }
    if stage in known:
        subject, units = known[stage]
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        note(run, subject(run), units, seconds, written)


def recall(run: Run, subject: Subject) -> Past | None:
    """Return what a stage took when it last ran here; None when that is not known."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        data = read_json(_place(run, subject))
        past = Past(
            units=int(data["units"]),
            seconds=float(data["seconds"]),
            bytes=int(data["bytes"]),
            memory=int(data["memory"]),
        )
        return past if past.units > 0 and past.seconds >= 0 else None
    return None


def _place(run: Run, subject: Subject) -> Path:
    return run.store / "speeds" / f"{subject['stage']}-{key_of(subject)}.json"


def of_collect(run: Run) -> Subject:
    """Return what the speed of recording depends on; its units are frames."""
    return {
        "stage": "collect",
        "environment": canonical(run.spec.environment),
        "workers": workers_of(run.spec.compute),
        "machine": machine(run),
    }


def of_features(run: Run, choice: BackboneChoice | TeacherChoice, info: EnvironmentInfo) -> Subject:
    """Return what the speed of a backbone or teacher depends on; its units are frames."""
    return {
        "stage": "extract",
        "component": canonical(choice),
        "cameras": len(info.cameras),
        "image": list(info.image),
        "machine": machine(run),
    }


def of_align(run: Run) -> Subject:
    """Return what the speed of aligning depends on; its units are steps."""
    align = canonical(run.spec.align)
    del align["steps"]
    backbones = [canonical(choice) for choice in run.spec.backbone]
    return {"stage": "align", "align": align, "backbones": backbones, "machine": machine(run)}


def of_train(run: Run) -> Subject:
    """Return what the speed of training depends on; its units are steps."""
    policy = canonical(run.spec.policy)
    del policy["steps"]
    return {
        "stage": "train",
        "policy": policy,
        "backbones": [canonical(choice) for choice in seen_backbones(run.spec)],
        "machine": machine(run),
    }


def of_act(run: Run) -> Subject:
    """Return what the speed of acting depends on; its units are episodes."""
    return {
        "stage": "act",
        "environment": canonical(run.spec.environment),
        "policy": canonical(run.spec.policy),
        "backbones": [canonical(choice) for choice in seen_backbones(run.spec)],
        "batch": run.spec.act.parallel_episodes,
        "workers": workers_of(run.spec.compute),
        "machine": machine(run),
    }
