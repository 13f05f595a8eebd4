"""Summarize a data set of RoboTwin: every file is checked, only a few images are decoded.

Shapes: R = rows of a file, N = frames shown, H W = pixels, A = action dims
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.interfaces import DatasetSummary, Environment, EpisodeOverview, JointMotion
from rgb2act_core.recordings import hdf5

from ..config import CAMERAS, Robotwin
from ..tasks import ALOHA, TASKS
from . import episode_index, episode_reader, joint_motion
from .episode_index import IndexEntry
from .file_report import FileReport, compare_cameras, report_of
from .images import StoredImages
from .joint_states import (
    ACTION_NAMES,
    KEEP_ALL,
    JointTrajectory,
)

SHOWN = 6  # frames per row of the contact sheet
SHEETS = 4  # tasks on the contact sheet


def summarize(path: Path) -> DatasetSummary | None:
    """Return a summary of the episodes at or below a path; None if there are none of RoboTwin."""
    try:
        entries = episode_index.find_episodes(path)
    except UserError:
        if "_traj_data" in path.resolve().parts or episode_index.is_robotwin(path):
            raise
        return None
    reports = [report_of(entry) for entry in entries]
    if not any(report.layout for report in reports) and not any(entry.named for entry in entries):
        return None
    compare_cameras(reports)
    valid = [report for report in reports if not report.problems]
    choice = _choose_task(reports, valid)
    motion = joint_motion.measure(choice.trajectories)
    return DatasetSummary(
        path=str(path),
        episodes=tuple(_episode(report) for report in reports),
        cameras=_cameras(reports),
        actions=_ranges([report.trajectory for report in reports if report.trajectory]),
        missing=tuple(_missing(entries)),
        facts=(*_facts(reports, valid), *_motion_facts(choice.trajectories, motion)),
        bytes=sum(entry.path.stat().st_size for entry in entries),
        environment=_table(path, choice, motion),
        clouds=bool(valid) and all(report.clouds or report.depth for report in valid),
        motion=motion,
        images=lambda: _sample_images(valid),
        environments=lambda: _environments(path, valid, choice),
    )


def _episode(report: FileReport) -> EpisodeOverview:
    return EpisodeOverview(
        name=report.entry.name,
        task=report.entry.task,
        path=str(report.entry.path),
        layout=report.layout.name if report.layout else "",
        frames=len(report.trajectory.rows) if report.trajectory else 0,
        problems=tuple(report.problems),
    )


def _cameras(reports: Sequence[FileReport]) -> dict[str, tuple[tuple[int, int], ...]]:
    names = {name for report in reports for name in report.sizes}
    order = sorted(names, key=lambda n: (CAMERAS.index(n) if n in CAMERAS else len(CAMERAS), n))
    return {
        name: tuple(sorted({report.sizes[name] for report in reports if name in report.sizes}))
        for name in order
    }


def _ranges(motions: Sequence[JointTrajectory]) -> tuple[tuple[str, float, float], ...]:
    if not motions:
        return ()
    actions_RA = np.concatenate([trajectory.actions for trajectory in motions])
    rows = zip(ACTION_NAMES, actions_RA.min(axis=0), actions_RA.max(axis=0), strict=True)
    return tuple((name, float(low), float(high)) for name, low, high in rows)


def _missing(entries: Sequence[IndexEntry]) -> Iterator[str]:
    for _, some in groupby(entries, key=lambda entry: entry.folder):
        group = list(some)
        for number in episode_index.missing_numbers(group):
            yield attrs.evolve(group[0], number=number).name


def _facts(reports: Sequence[FileReport], valid: Sequence[FileReport]) -> Iterator[tuple[str, str]]:
    tasks = Counter(report.entry.task or "not named by the path" for report in reports)
    yield "tasks", ", ".join(f"{task} ({count})" for task, count in sorted(tasks.items()))
    robots = {report.entry.embodiment for report in reports if report.entry.embodiment}
    yield "robot", ", ".join(sorted(robots)) or "not named by the path"
    colours = sum((report.colours for report in reports), Counter[str]())
    kinds = " and ".join(f"{kind} ({count})" for kind, count in sorted(colours.items()))
    yield "JPEG colours", f"{kinds}, decoded to RGB" if kinds else "none"
    rates = Counter(_rate(report) for report in valid if report.layout)
    yield "frame rate", ", ".join(f"{rate} ({count})" for rate, count in rates.items()) or "none"
    lengths = sorted(len(report.trajectory.rows) for report in valid if report.trajectory)
    if lengths:
        yield "episode length", f"{lengths[0]} to {lengths[-1]} frames"
    yield "point clouds", _share([report.clouds for report in valid])
    yield "depth", _share([report.depth for report in valid])
    yield "instructions", _share([report.has_instructions for report in valid])


def _rate(report: FileReport) -> str:
    """Return the frame rate of a file, and whether it is the default one."""
    assert report.layout is not None
    key = report.layout.frequency
    stored = key is not None and hdf5.has(report.entry.path, key)
    rate = f"{episode_reader.frame_rate(report.entry.path, report.layout):.2f} Hz"
    return rate if stored else f"{rate}, assumed: set [environment] save_freq if it differs"


def _share(having: Sequence[bool]) -> str:
    if not any(having):
        return "none"
    return "all valid episodes" if all(having) else f"{sum(having)} of {len(having)} episodes"


def _motion_facts(
    trajectories: Sequence[JointTrajectory], motion: JointMotion | None
) -> Iterator[tuple[str, str]]:
    if motion is None:
        return
    yield (
        "joint motion",
        f"{motion.median:.3f} rad per frame (median), 95% at most {motion.percentile_95:.3f} rad",
    )
    yield "still frames", f"{motion.still:.0%}; {motion.equal:.0%} have exactly equal joints"
    rule = joint_motion.suggested_rule(motion)
    paces = (joint_motion.simulated_pace(trajectories, each) for each in (KEEP_ALL, rule))
    (actions, seconds), (fewer_actions, fewer_seconds) = paces
    yield "actions in simulation", f"{actions:.0f} per episode, {seconds:.0f} s"
    if rule != KEEP_ALL:
        yield (
            "suggested",
            f"stride = {rule.stride}, duplicates = {rule.duplicates!r}:"
            f" {fewer_actions:.0f} actions, {fewer_seconds:.0f} s",
        )


@attrs.frozen(eq=False, kw_only=True)
class _Choice:
    """The task and robot that a spec for the data set is written for, and their files."""

    task: str
    robot: str
    reports: tuple[FileReport, ...]

    @property
    def trajectories(self) -> list[JointTrajectory]:
        """The joints of the valid episodes."""
        return [r.trajectory for r in self.reports if r.trajectory and not r.problems]


def _choose_task(reports: Sequence[FileReport], valid: Sequence[FileReport]) -> _Choice:
    """Return the most frequent task and its most frequent robot."""
    tasks = Counter(report.entry.task for report in valid if report.entry.task)
    known = Counter({task: count for task, count in tasks.items() if task in TASKS})
    task = next((name for name, _ in (known or tasks).most_common(1)), "unknown")
    selected = [report for report in reports if not known or report.entry.task == task]
    robots = Counter(report.entry.embodiment for report in selected if report.entry.embodiment)
    robot = robots.most_common(1)[0][0].replace("_", "-") if robots else ALOHA
    selected = [x for x in selected if x.entry.embodiment.replace("_", "-") in ("", robot)]
    return _Choice(task=task, robot=robot, reports=tuple(selected))


def _table(path: Path, choice: _Choice, motion: JointMotion | None) -> dict[str, Any]:
    """Return the [environment] table for the valid episodes of the chosen task."""
    names = {name: sum(r.usable(name) for r in choice.reports) for name in CAMERAS}
    enough = max(names.values()) / 2
    camera = next(name for name in CAMERAS if names[name] >= enough)
    table: dict[str, Any] = {
        "use": "robotwin",
        "task": choice.task,
        "data": path.resolve(),
        "cameras": [camera],
    }
    if choice.robot != ALOHA:
        table["embodiment"] = choice.robot
    if motion is not None and motion.drop_still:
        table["duplicates"] = "drop"
    if motion is not None and motion.stride > 1:
        table["stride"] = motion.stride
    if damaged := [r.entry.name for r in choice.reports if not r.usable(camera)]:
        table["skip"] = damaged
    return table


def _environments(
    path: Path, valid: Sequence[FileReport], choice: _Choice
) -> Iterator[Environment]:
    """Open the valid episodes of each task with all cameras of the most frequent size."""
    from ..environment import RobotwinEnvironment

    for task in sorted({report.entry.task or choice.task for report in valid}):
        of_task = [r for r in valid if (r.entry.task or choice.task) == task]
        for robot in sorted({report.entry.embodiment for report in of_task}):
            members = [r for r in of_task if r.entry.embodiment == robot]
            config = Robotwin(
                task=task,
                data=path,
                cameras=_cameras_of_one_size(members) or CAMERAS[:1],
                embodiment=robot.replace("_", "-") or ALOHA,
            )
            environment: Any = RobotwinEnvironment(config, [report.entry for report in members])
            yield environment


def _cameras_of_one_size(reports: Sequence[FileReport]) -> tuple[str, ...]:
    """Return the cameras that all files have, of the size that most of them have."""
    shared = set.intersection(*(set(report.sizes.items()) for report in reports))
    sizes = Counter(size for _, size in shared)
    most = sizes.most_common(1)[0][0] if sizes else None
    names = {name for name, size in shared if size == most}
    return tuple(sorted(names, key=lambda name: (name not in CAMERAS, name)))


def _sample_images(valid: Sequence[FileReport]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield frames of each camera of the first valid episode of each task."""
    shown: set[str] = set()
    for report in valid:
        if (
            report.entry.task in shown
            or len(shown) == SHEETS
            or not (report.layout and report.trajectory)
        ):
            continue
        shown.add(report.entry.task)
        rows = np.unique(np.linspace(0, len(report.trajectory.rows) - 1, SHOWN).astype(np.int64))
        for name in report.sizes:
            key = report.layout.cameras[name].rgb
            images = StoredImages(report.entry.path, (key,), rows, report.sizes[name])
            yield f"{report.entry.task} {report.entry.name} {name}", images[:][:, 0]
