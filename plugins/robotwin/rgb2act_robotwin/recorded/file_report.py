"""What is found in one file of a data set.

Shapes: R = rows of a file
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from . import cameras, instructions
from .episode_index import IndexEntry
from .images import read_jpegs
from .joint_states import JointTrajectory, check_rows, read_trajectory
from .layouts import Layout, layout_of


@attrs.define(eq=False, kw_only=True)
class FileReport:
    """Findings in one file."""

    entry: IndexEntry
    layout: Layout | None = None
    trajectory: JointTrajectory | None = None
    sizes: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    colours: Counter[str] = attrs.field(factory=Counter)
    clouds: bool = False
    depth: bool = False
    has_instructions: bool = False
    file_problems: list[str] = attrs.field(factory=list)
    camera_problems: dict[str, list[str]] = attrs.field(factory=dict)  # by camera

    @property
    def problems(self) -> list[str]:
        """All problems: of the file, and of each camera."""
        return [*self.file_problems, *chain.from_iterable(self.camera_problems.values())]

    def usable(self, camera: str) -> bool:
        """Return whether a policy that sees only this camera can learn from the file."""
        return (
            not self.file_problems and camera in self.sizes and not self.camera_problems.get(camera)
        )

    def attempt(self, call: Callable[..., Any], *args: Any, camera: str = "") -> Any:
        """Return the result of a call, or None after adding the problems that it raised."""
        try:
            return call(*args)
        except UserError as err:
            self.add([str(arg) for arg in err.args], camera)
            return None

    def add(self, problems: list[str], camera: str = "") -> None:
        """Add problems of a camera, or of the file."""
        known = self.camera_problems.setdefault(camera, []) if camera else self.file_problems
        known += problems


def report_of(entry: IndexEntry) -> FileReport:
    """Read everything in a file except the images' pixels, and return what is found."""
    report = FileReport(entry=entry)
    try:
        with hdf5.open_file(entry.path):
            return _read_report(report)
    except UserError as err:
        report.add(list(map(str, err.args)))
        return report


def _read_report(report: FileReport) -> FileReport:
    entry = report.entry
    layout: Layout | None = report.attempt(layout_of, entry.path)
    if layout is None:
        return report
    report.layout, path = layout, entry.path
    report.trajectory = report.attempt(read_trajectory, path, layout)
    count = 0 if report.trajectory is None else len(report.trajectory.rows)
    for name, camera in layout.cameras.items():
        report.attempt(_check_camera, report, name, camera.rgb, count, camera=name)
        report.depth |= camera.depth is not None
    if not layout.cameras:
        report.add([f"{path}: has no camera; record it again with data_type.rgb enabled"])
    if layout.clouds is not None:
        report.clouds = report.attempt(_read_clouds, path, layout, count) is not None
    texts = report.attempt(instructions.read_instructions, entry, layout)
    report.has_instructions = bool(texts and any(texts.values()))
    return report


def _read_clouds(path: Path, layout: Layout, count: int) -> NDArray[Any]:
    assert layout.clouds is not None
    if count:
        check_rows(path, layout, layout.clouds)
    return cameras.read_clouds(path, layout.clouds, np.arange(count))


def _check_camera(report: FileReport, name: str, key: str, count: int) -> None:
    have = hdf5.array_info(report.entry.path, key).rows
    if count and report.layout:
        check_rows(report.entry.path, report.layout, key)
    _, heads = read_jpegs(report.entry.path, key, np.arange(count or have))
    if not heads:
        raise UserError(f"{report.entry.path}: {key}: has no frames; {REMEDY}")
    report.sizes[name] = (heads[0].height, heads[0].width)
    report.colours.update("true RGB" if head.true_rgb else "swapped" for head in heads)


def compare_cameras(reports: Sequence[FileReport]) -> None:
    """Report episodes without a camera that most episodes of their folder have."""
    pairs = [(report, report.layout.cameras) for report in reports if report.layout]
    for _, members in groupby(pairs, key=lambda pair: pair[0].entry.folder):
        group = list(members)
        counts = Counter(name for _, cameras_of in group for name in cameras_of)
        for report, cameras_of in group:
            for name, count in counts.items():
                if name not in cameras_of and 2 * count > len(group):
                    problem = (
                        f"{report.entry.path}: camera {name!r} is missing; {count} of {len(group)}"
                        f" episodes have it; {REMEDY}"
                    )
                    report.add([problem], name)
