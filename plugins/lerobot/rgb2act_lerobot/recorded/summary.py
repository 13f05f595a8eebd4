"""Summarize a LeRobotDataset: all numbers and encoded frames are read, few images are decoded.

Shapes: N = frames shown, H W = pixels
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.interfaces import DatasetSummary, Environment, EpisodeOverview
from rgb2act_core.recordings import cameras_of_one_size, describe_actions, unit_keys

from ..config import LeRobot
from .episode_report import EpisodeReport, report_of
from .episode_table import Listing, read_listing
from .files import AGAIN
from .frames import RecordedFrames
from .motion import Matching, matching
from .schema import SUCCESS

SHOWN = 6  # frames per row of the contact sheet
SHEETS = 4  # tasks on the contact sheet


@attrs.frozen(eq=False, kw_only=True)
class _Found:
    """The listing of a data set and the reports on its episodes."""

    path: Path
    listing: Listing
    match: Matching | None
    mismatch: str  # why state and action do not fit together
    reports: tuple[EpisodeReport, ...]

    @property
    def valid(self) -> list[EpisodeReport]:
        """The reports without problems."""
        return [report for report in self.reports if not report.problems]

    @property
    def cameras(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Image sizes by camera."""
        return {
            name: tuple(sorted({r.clips[name].size for r in self.reports if name in r.clips}))
            for name in self.listing.schema.cameras
        }


def summarize(path: Path) -> DatasetSummary:
    """Return a summary of the LeRobotDataset in a folder.

    Raises UserError if its version cannot be read or its ``meta`` folder is damaged.
    """
    listing = read_listing(path)
    match, mismatch = None, ""
    try:
        match = matching(listing.schema, LeRobot(data=path))
    except UserError as err:
        mismatch = str(err)
    reports = tuple(report_of(listing, entry, match) for entry in listing.entries)
    found = _Found(path=path, listing=listing, match=match, mismatch=mismatch, reports=reports)
    return DatasetSummary(
        path=str(path),
        episodes=tuple(_overviews(found)),
        cameras=found.cameras,
        actions=tuple(_ranges(found)),
        missing=tuple(listing.missing),
        facts=tuple(_facts(found)),
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        environment=_table(found),
        clouds=False,
        images=lambda: _sample_images(found),
        environments=lambda: _environments(found),
    )


def _overviews(found: _Found) -> Iterator[EpisodeOverview]:
    schema = found.listing.schema
    for report in found.reports:
        yield EpisodeOverview(
            name=report.entry.name,
            task=found.listing.tasks.get(report.rows.task, "") if report.rows else "",
            path=str(report.entry.data),
            layout=schema.version,
            frames=report.entry.length,
            problems=tuple(report.problems),
        )
    for name in found.listing.missing:
        problem = f"{schema.root}/meta/info.json: {name} is counted but not listed; {AGAIN}"
        yield EpisodeOverview(
            name=name, task="", path=str(schema.root), layout="", frames=0, problems=(problem,)
        )


def _ranges(found: _Found) -> Iterator[tuple[str, float, float]]:
    actions = [report.actions for report in found.reports if report.actions is not None]
    if actions and found.match:
        actions_RA = np.concatenate(actions)
        low_A, high_A = actions_RA.min(axis=0), actions_RA.max(axis=0)
        for name, low, high in zip(found.match.names, low_A, high_A, strict=True):
            yield name, float(low), float(high)


def _facts(found: _Found) -> Iterator[tuple[str, str]]:
    schema = found.listing.schema
    yield "robot", schema.robot or "not named"
    counts = Counter(r.rows.task for r in found.reports if r.rows is not None)
    texts = (f"{found.listing.tasks.get(t, f'number {t}')!r} ({n})" for t, n in counts.items())
    yield "tasks", ", ".join(texts) or "none"
    changing = [(r.entry.name, r.rows.later_task) for r in found.reports if r.rows]
    if changes := [f"{name} at frame {at}" for name, at in changing if at is not None]:
        yield "task changes within", f"{', '.join(changes[:5])}; the first one is the instruction"
    yield "frame rate", f"{schema.fps:g} Hz"
    lengths = sorted(entry.length for entry in found.listing.entries)
    if lengths:
        yield "episode length", f"{lengths[0]} to {lengths[-1]} frames"
    if found.mismatch:
        yield "state and action", found.mismatch
    pairs = [
        (r.joints, r.actions)
        for r in found.reports
        if r.joints is not None and r.actions is not None
    ]
    if pairs:
        yield "action is", describe_actions(pairs)
    if SUCCESS in schema.features:
        successes = [report.success for report in found.reports if report.success is not None]
        yield "successful", f"{sum(successes)} of {len(successes)} episodes"
    if schema.depth_cameras:
        yield "depth cameras", f"{', '.join(schema.depth_cameras)} (no RGB cameras)"
    others = [
        f.key
        for f in schema.features.values()
        if f.dtype not in ("video", "image") and "." in f.key and not f.key.endswith(".state")
    ]
    if others:
        yield "other features", ", ".join(others)


def _table(found: _Found) -> dict[str, Any]:
    """Return the [environment] table for the intact episodes of the most frequent task."""
    table: dict[str, Any] = {"use": "lerobot", "data": found.path.resolve()}
    counts = Counter(report.rows.task for report in found.valid if report.rows)
    tasks, chosen = found.listing.tasks, counts.most_common(1)
    if len(counts) > 1:
        table["task"] = tasks[chosen[0][0]]
    if len(names := cameras_of_one_size(found.cameras)) < len(found.cameras):
        table["cameras"] = list(names)
    table |= _unit_keys(found)
    if damaged := [r.entry.name for r in found.reports if r.problems]:
        table["skip"] = damaged
    return table


def _unit_keys(found: _Found) -> dict[str, Any]:
    """Return keys for joints that are no radians, and grippers that are no fractions."""
    if not found.match:
        return {}
    joints = [report.joints for report in found.valid if report.joints is not None]
    return unit_keys(joints, found.match.names)


def _environments(found: _Found) -> Iterator[Environment]:
    """Open the intact episodes with all cameras of the most frequent size."""
    from ..environment import LeRobotEnvironment

    if not found.valid or not found.match:
        return
    config = LeRobot(
        data=found.path, cameras=cameras_of_one_size(found.cameras), **_unit_keys(found)
    )
    environment: Any = LeRobotEnvironment(
        config, found.listing, [report.entry for report in found.valid]
    )
    yield environment


def _sample_images(found: _Found) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield frames of each camera of the first intact episode of each task."""
    shown: set[int] = set()
    for report in found.valid:
        if report.rows is None or report.rows.task in shown or len(shown) == SHEETS:
            continue
        shown.add(report.rows.task)
        rows = np.unique(np.linspace(0, report.entry.length - 1, SHOWN).astype(np.int64))
        for name, clip in report.clips.items():
            images = RecordedFrames(clips=(clip,), rows=rows, size=clip.size)
            text = found.listing.tasks[report.rows.task]
            yield f"{text[:40]} {report.entry.name} {name}", images[:][:, 0]
