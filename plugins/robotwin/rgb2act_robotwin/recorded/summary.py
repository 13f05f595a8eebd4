"""Say what a data set of RoboTwin holds: every file is looked at, no image is decoded but a few.

Shapes: R = rows of a file, N = frames shown, H W = pixels, A = action dims
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import DatasetSummary, EpisodeOverview

from ..config import CAMERAS
from ..tasks import ALOHA, TASKS
from . import cameras, episode_index, hdf5, instructions
from .episode_index import Place
from .hdf5 import AGAIN
from .images import StoredImages, scan
from .joint_states import ACTION_NAMES, Motion, motion_of
from .layouts import Layout, layout_of

SHOWN = 6  # frames a row of the contact sheet
SHEETS = 4  # tasks on it


@attrs.define(eq=False, kw_only=True)
class _Look:
    """Gather what one file says."""

    place: Place
    layout: Layout | None = None
    motion: Motion | None = None
    sizes: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    colours: Counter[str] = attrs.field(factory=Counter)
    clouds: bool = False
    depth: bool = False
    told: bool = False  # has instructions
    problems: list[str] = attrs.field(factory=list)

    def attempt(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except UserError as err:
            self.problems += [str(arg) for arg in err.args]
            return None


def inspect(path: Path) -> DatasetSummary | None:
    """Return what lies at a path; None when there is no episode of RoboTwin."""
    try:
        places = episode_index.find(path)
    except UserError:
        if "_traj_data" in path.resolve().parts:
            raise
        return None
    looks = [_look(place) for place in places]
    if not any(look.layout for look in looks) and not any(place.named for place in places):
        return None
    _compare(looks)
    sound = [look for look in looks if not look.problems]
    return DatasetSummary(
        path=str(path),
        episodes=tuple(_episode(look) for look in looks),
        cameras=_cameras(looks),
        actions=_ranges([look.motion for look in looks if look.motion]),
        missing=tuple(_missing(places)),
        facts=tuple(_facts(looks, sound)),
        bytes=sum(place.path.stat().st_size for place in places),
        environment=_table(path, looks, sound),
        clouds=bool(sound) and all(look.clouds or look.depth for look in sound),
        pictures=lambda: _pictures(sound),
    )


def _look(place: Place) -> _Look:
    look = _Look(place=place)
    try:
        with hdf5.opened(place.path):
            return _look_into(look)
    except UserError as err:
        return attrs.evolve(look, problems=[*look.problems, *map(str, err.args)])


def _look_into(look: _Look) -> _Look:
    place = look.place
    layout: Layout | None = look.attempt(layout_of, place.path)
    if layout is None:
        return look
    look.layout, path = layout, place.path
    look.motion = look.attempt(motion_of, path, layout)
    count = 0 if look.motion is None else len(look.motion.rows)
    for name, camera in layout.cameras.items():
        look.attempt(_look_at, look, name, camera.rgb, count)
        look.depth |= camera.depth is not None
    if not layout.cameras:
        look.problems.append(f"{path}: has no camera; record it again with data_type.rgb on")
    if layout.clouds is not None:
        look.clouds = look.attempt(cameras.check_rows, path, layout.clouds, count) is not None
    told = look.attempt(instructions.instructions, place, layout)
    look.told = bool(told and any(told.values()))
    return look


def _look_at(look: _Look, name: str, key: str, count: int) -> None:
    have = hdf5.array(look.place.path, key).rows
    if have < count:
        raise UserError(f"{look.place.path}: {key}: has {have} frames for {count} steps; {AGAIN}")
    _, heads = scan(look.place.path, key, count or have)
    if not heads:
        raise UserError(f"{look.place.path}: {key}: has no frames; {AGAIN}")
    look.sizes[name] = (heads[0].height, heads[0].width)
    look.colours.update("true RGB" if head.true_rgb else "swapped" for head in heads)


def _compare(looks: Sequence[_Look]) -> None:
    """Tell episodes without a camera that most episodes of their task have."""
    looks = [look for look in looks if look.layout]
    for _, some in groupby(looks, key=lambda look: look.place.folder):
        group = list(some)
        seen = Counter(name for look in group for name in look.layout.cameras)  # type: ignore[union-attr]
        for look in group:
            assert look.layout is not None
            for name, count in seen.items():
                if name not in look.layout.cameras and 2 * count > len(group):
                    look.problems.append(
                        f"{look.place.path}: camera {name!r} is missing, {count} of {len(group)}"
                        f" episodes have it; {AGAIN}"
                    )


def _episode(look: _Look) -> EpisodeOverview:
    return EpisodeOverview(
        name=look.place.name,
        task=look.place.task,
        path=str(look.place.path),
        layout=look.layout.name if look.layout else "",
        frames=len(look.motion.rows) if look.motion else 0,
        problems=tuple(look.problems),
    )


def _cameras(looks: Sequence[_Look]) -> dict[str, tuple[tuple[int, int], ...]]:
    names = {name for look in looks for name in look.sizes}
    order = sorted(names, key=lambda n: (CAMERAS.index(n) if n in CAMERAS else len(CAMERAS), n))
    return {
        name: tuple(sorted({look.sizes[name] for look in looks if name in look.sizes}))
        for name in order
    }


def _ranges(motions: Sequence[Motion]) -> tuple[tuple[str, float, float], ...]:
    if not motions:
        return ()
    actions_RA = np.concatenate([motion.actions for motion in motions])
    rows = zip(ACTION_NAMES, actions_RA.min(axis=0), actions_RA.max(axis=0), strict=True)
    return tuple((name, float(low), float(high)) for name, low, high in rows)


def _missing(places: Sequence[Place]) -> Iterator[str]:
    for _, some in groupby(places, key=lambda place: place.folder):
        group = list(some)
        for number in episode_index.gaps(group):
            yield attrs.evolve(group[0], number=number).name


def _facts(looks: Sequence[_Look], sound: Sequence[_Look]) -> Iterator[tuple[str, str]]:
    tasks = Counter(look.place.task or "not named by the path" for look in looks)
    yield "tasks", ", ".join(f"{task} ({count})" for task, count in sorted(tasks.items()))
    robots = {look.place.embodiment for look in looks if look.place.embodiment}
    yield "robot", ", ".join(sorted(robots)) or "not named by the path"
    colours = sum((look.colours for look in looks), Counter[str]())
    told = " and ".join(f"{kind} ({count})" for kind, count in sorted(colours.items()))
    yield "JPEG colours", f"{told}, read as RGB either way" if told else "none"
    lengths = sorted(len(look.motion.rows) for look in sound if look.motion)
    if lengths:
        yield "episode length", f"{lengths[0]} to {lengths[-1]} frames"
        pairs = sum(int(look.motion.repeats.sum()) for look in sound if look.motion)
        yield "repeated frames", f"{pairs} have the joints of the frame before"
    yield "point clouds", _share([look.clouds for look in sound])
    yield "depth", _share([look.depth for look in sound])
    yield "instructions", _share([look.told for look in sound])


def _share(having: Sequence[bool]) -> str:
    if not any(having):
        return "none"
    return "all sound episodes" if all(having) else f"{sum(having)} of {len(having)} episodes"


def _table(path: Path, looks: Sequence[_Look], sound: Sequence[_Look]) -> dict[str, Any]:
    """Return the [environment] table that reads what is sound of the commonest task."""
    tasks = Counter(look.place.task for look in sound if look.place.task)
    known = Counter({task: count for task, count in tasks.items() if task in TASKS})
    task = next((name for name, _ in (known or tasks).most_common(1)), "unknown")
    mine = [look for look in looks if not known or look.place.task == task]
    robots = Counter(look.place.embodiment for look in mine if look.place.embodiment)
    robot = robots.most_common(1)[0][0].replace("_", "-") if robots else ALOHA
    mine = [x for x in mine if x.place.embodiment.replace("_", "-") in ("", robot)]
    seen = [set(look.sizes) for look in mine if not look.problems]
    shared = set.intersection(*seen) if seen else set()
    camera = next((name for name in (*CAMERAS, *sorted(shared)) if name in shared), CAMERAS[0])
    table: dict[str, Any] = {
        "use": "robotwin",
        "task": task,
        "data": path.resolve(),
        "cameras": [camera],
    }
    if robot != ALOHA:
        table["embodiment"] = robot
    if damaged := [look.place.name for look in mine if look.problems]:
        table["skip"] = damaged
    return table


def _pictures(sound: Sequence[_Look]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield frames of each camera of the first sound episode of each task."""
    shown: set[str] = set()
    for look in sound:
        if look.place.task in shown or len(shown) == SHEETS or not (look.layout and look.motion):
            continue
        shown.add(look.place.task)
        rows = np.unique(np.linspace(0, len(look.motion.rows) - 1, SHOWN).astype(np.int64))
        for name in look.sizes:
            key = look.layout.cameras[name].rgb
            images = StoredImages(look.place.path, (key,), rows, look.sizes[name])
            yield f"{look.place.task} {look.place.name} {name}", images[:][:, 0]
