"""Predict: what each stage will write and take, from what the store knows; nothing is guessed.

Bytes follow from shapes: those stored with features of the same backbone, else its own word once
it is built. Times are what the same work took on this machine before, or what a few frames take
now (``timed``). What neither tells is None, with the reason beside it.

"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from ..data.dataset import Dataset, missing, stored
from ..errors import UserError
from ..interfaces import EnvironmentInfo, PointCloud
from ..spec import BackboneChoice, TeacherChoice
from ..spec.conditions import labels_of
from ..stages import collect
from ..stages.keys import stored_embeddings, stored_features
from ..stages.tasks import Task, Tasks
from ..store.group_writer import read_group
from ..store.run import Run
from ..system.devices import device_of, peak_memory
from ..weights.inventory import weights_of
from . import timings
from .timings import Past, Subject

TIMED_FRAMES = 2  # encoded at once to measure a backbone
TIMED_SECONDS = 1.0  # at least; whole batches
TIMED_POINTS = 10_000  # of a made-up cloud, where none is recorded


@attrs.frozen(kw_only=True)
class Forecast:
    """Say what one stage still has to do; None is not known."""

    stage: str
    state: str  # "cached", or why it runs
    bytes: int | None = 0  # to be written
    seconds: float | None = 0.0
    memory: int | None = None  # bytes, largest resident size of the process; None when cached
    basis: str = ""  # what the numbers rest on, or why there are none


@attrs.frozen(kw_only=True)
class FrameForecast:
    """Say how many frames of a task there are or will be, and what is known of recording them."""

    demonstrations: int  # frames still to record
    scenes: int
    total: int
    bytes_each: float
    basis: str


def forecast(
    run: Run, tasks: Tasks, data: Dataset | None, states: dict[str, str], timed: bool
) -> tuple[tuple[Forecast, ...], int]:
    """Return a forecast for each stage, and how many frames they rest on."""
    recorded = {
        tasks.label("collect", task): (task, _frames(task, None if data is None else data.of(i)))
        for i, task in enumerate(tasks)
    }
    frames = sum(of_task.total for _, of_task in recorded.values())
    labels = [f"extract/{label}" for label in labels_of(run.spec.backbone)]
    choices: list[BackboneChoice | TeacherChoice] = [*run.spec.backbone, run.spec.teacher]
    parts = dict(zip([*labels, f"teacher/{choices[-1].component.name}"], choices, strict=True))
    made = []
    for stage, state in states.items():
        if state in ("cached", "not needed"):
            made.append(Forecast(stage=stage, state=state))
        elif stage in recorded:
            task, of_task = recorded[stage]
            made.append(_collect(task.run, stage, state, of_task))
        elif stage in parts:
            made.append(_extract(run, tasks.info, data, frames, stage, state, parts[stage], timed))
        else:
            made.append(_learn(run, stage, state))
    return tuple(made), frames


def _frames(task: Task, data: Dataset | None) -> FrameForecast:
    run, info = task.run, task.info
    if data is None and not info.demonstrates:  # another task is still to be recorded
        data = collect.dataset_of(run, task.environment)
    if data is not None:
        total = sum(source.open().rgb.shape[0] for source in data.sources)
        return FrameForecast(demonstrations=0, scenes=0, total=total, bytes_each=0, basis="")
    rows, columns = info.image
    each = float(len(info.cameras) * rows * columns * 3)
    length, basis = float(info.max_steps), "every episode as long as it may be, without clouds"
    done = collect.demonstrations_of(run)
    if done:
        lengths = [stored(path).open().rgb.shape[0] for path in done]
        length, each = float(np.mean(lengths)), sum(map(_on_disk, done)) / max(sum(lengths), 1)
        basis = f"{len(done)} recorded demonstrations"
    episodes, packs = collect.missing(run)
    scenes = run.spec.collect.scenes
    left = sum(sorted((count for _, count in collect.scene_packs(run)), reverse=True)[:packs])
    return FrameForecast(
        demonstrations=round(episodes * length),
        scenes=left,
        total=round(run.spec.collect.episodes * length) + scenes,
        bytes_each=each,
        basis=basis,
    )


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _collect(run: Run, stage: str, state: str, frames: FrameForecast) -> Forecast:
    count = frames.demonstrations + frames.scenes
    past = timings.recall(run, timings.of_collect(run))
    return Forecast(
        stage=stage,
        state=state,
        bytes=round(count * frames.bytes_each),
        seconds=_seconds(past, count),
        memory=past.memory if past else None,
        basis=f"{count:,} frames: {frames.basis}; {_of(past, 'frames')}",
    )


def _extract(
    run: Run,
    info: EnvironmentInfo,
    data: Dataset | None,
    frames: int,
    stage: str,
    state: str,
    choice: BackboneChoice | TeacherChoice,
    timed: bool,
) -> Forecast:
    folder = (
        stored_embeddings(run).folder
        if isinstance(choice, TeacherChoice)
        else stored_features(run, [choice])[0].folder
    )
    teaches = isinstance(choice, TeacherChoice)
    left = frames
    if data is not None:
        left = sum(source.open().rgb.shape[0] for source in missing(folder, data.sources))
    each = _stored_bytes(folder)
    past, basis = timings.recall(run, timings.of_features(run, choice, info)), ""
    if timed or each is None:
        absent = _absent(choice)
        if absent:
            basis = f"; {absent}"
        else:
            built = choice.build()
            each = each or _bytes(run, built, info, teaches)
            if timed:
                past = (_time_teacher if teaches else _time_backbone)(run, built, info, data)
    return Forecast(
        stage=stage,
        state=state,
        bytes=None if each is None else left * each,
        seconds=_seconds(past, left),
        memory=past.memory if past else None,
        basis=f"{left:,} frames"
        + (f" of {each:,} bytes" if each else "")
        + f"; {'measured now' if timed and past else _of(past, 'frames')}{basis}",
    )


def _absent(choice: BackboneChoice | TeacherChoice) -> str:
    """Return why a component cannot be built without a download; empty when it can."""
    away = [need for need in weights_of("", choice) if need.state in ("not downloaded", "missing")]
    return f"weights {away[0].file} are {away[0].state}" if away else ""


def _stored_bytes(folder: Path) -> int | None:
    """Return bytes a frame of features that were stored with the same key."""
    for entry in sorted(folder.glob("[!.]*")) if folder.is_dir() else ():
        try:
            group = read_group(entry)
        except UserError:
            continue
        arrays = [group[name] for name in group.arrays]
        return sum(int(array[:1].nbytes) for array in arrays if len(array))
    return None


def _bytes(run: Run, built: Any, info: EnvironmentInfo, teaches: bool) -> int:
    """Return bytes of a frame's tokens and float32 means, or of its embedding."""
    from ..features.token_codec import bytes_of

    if teaches:
        groups = built.info.groups if run.spec.align.loss.grouped else None
        return 4 * int(built.info.dim) + (2 * math.prod(groups) if groups else 0)
    cameras, dim = len(info.cameras), int(built.info.dim)
    return (
        bytes_of(run.spec.extract.tokens, cameras, built.grid(*info.image), dim) + 4 * cameras * dim
    )


def _time_backbone(run: Run, built: Any, info: EnvironmentInfo, data: Dataset | None) -> Past:
    """Measure a backbone on a few frames of noise, encoded as an episode's are."""
    import torch

    from ..features.encoder import Encoder, Stream

    device = device_of(run.spec.compute)
    stream = Stream(Encoder(built.to(torch.device(device)), device))
    rng, shape = np.random.default_rng(0), (len(info.cameras), *info.image, 3)
    noise = rng.integers(0, 256, (TIMED_FRAMES, *shape), np.uint8)
    stream.push(noise[:1]).cpu()
    return _timed(lambda: stream.push(noise).cpu(), TIMED_FRAMES)


def _time_teacher(run: Run, built: Any, info: EnvironmentInfo, data: Dataset | None) -> Past:
    """Measure a teacher on a recorded cloud, or on a made-up one."""
    import torch

    built = built.to(torch.device(device_of(run.spec.compute)))
    clouds = data.sources[0].open().clouds if data is not None else None
    if clouds:
        cloud = clouds[0]
    else:
        rng = np.random.default_rng(0)
        xyz = rng.uniform(-0.5, 0.5, (TIMED_POINTS, 3)).astype(np.float32)
        cloud = PointCloud(xyz=xyz, rgb=rng.integers(0, 256, (TIMED_POINTS, 3), np.uint8))
    with torch.inference_mode():
        built.embed([cloud])
        return _timed(lambda: built.embed([cloud] * TIMED_FRAMES).cpu(), TIMED_FRAMES)


def _timed(work: Callable[[], Any], units: int) -> Past:
    began, count = time.monotonic(), 0
    while time.monotonic() - began < TIMED_SECONDS:
        work()
        count += units
    seconds = time.monotonic() - began
    return Past(units=count, seconds=seconds, bytes=0, memory=peak_memory())


def _learn(run: Run, stage: str, state: str) -> Forecast:
    """Predict align, train or act from what the same work took before."""
    subjects: dict[str, Subject] = {
        "align": timings.of_align(run),
        "train": timings.of_train(run),
        "act": timings.of_act(run),
    }
    counts = {
        "align": (run.spec.align.steps, "steps"),
        "train": (run.spec.policy.steps, "steps"),
        "act": (run.spec.act.episodes * len(run.tasks), "episodes"),
    }
    past, (count, unit) = timings.recall(run, subjects[stage]), counts[stage]
    return Forecast(
        stage=stage,
        state=state,
        bytes=past.bytes if past else None,
        seconds=_seconds(past, count),
        memory=past.memory if past else None,
        basis=f"{count:,} {unit}; {_of(past, unit)}",
    )


def _seconds(past: Past | None, count: int) -> float | None:
    return None if past is None else count * past.seconds / past.units


def _of(past: Past | None, unit: str) -> str:
    if past is None:
        return "time not known, it never ran on this machine with this store"
    return f"{past.units:,} {unit} took {past.seconds:,.3g} s before"
