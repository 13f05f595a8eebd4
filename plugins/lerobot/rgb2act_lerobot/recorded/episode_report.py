"""What is found in the files of one episode.

Shapes: R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.recordings import joints_and_actions

from ..config import LeRobot
from .episode_reader import Rows, camera_keys, open_camera, read_numbers, read_rows
from .episode_table import EpisodeEntry, Listing
from .frames import Clip
from .motion import Matching
from .schema import ACTION, STATE, SUCCESS


@attrs.define(eq=False, kw_only=True)
class EpisodeReport:
    """Findings in the files of one episode."""

    entry: EpisodeEntry
    rows: Rows | None = None
    joints: NDArray[np.float32] | None = None  # (R, A)
    actions: NDArray[np.float32] | None = None  # (R, A)
    success: bool | None = None
    clips: dict[str, Clip] = attrs.field(factory=dict)  # by camera
    file_problems: list[str] = attrs.field(factory=list)
    camera_problems: dict[str, list[str]] = attrs.field(factory=dict)

    @property
    def problems(self) -> list[str]:
        """All problems, each once: of the data file, and of each camera."""
        found = [*self.file_problems, *chain.from_iterable(self.camera_problems.values())]
        return list(dict.fromkeys(found))

    def attempt(self, problems: list[str], call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of a call, or None after adding the problems that it raised."""
        try:
            return call(*args)
        except UserError as err:
            problems += map(str, err.args)
            return None


def report_of(listing: Listing, entry: EpisodeEntry, match: Matching | None) -> EpisodeReport:
    """Read the numbers of an episode and find the frames of all cameras; decode nothing."""
    report, schema = EpisodeReport(entry=entry), listing.schema
    names = tuple(key for key in (STATE, ACTION, SUCCESS) if key in schema.features)
    report.rows = report.attempt(report.file_problems, read_rows, schema, entry, names)
    if report.rows is not None:
        if match is not None:
            numbers = report.attempt(
                report.file_problems, read_numbers, schema, entry, report.rows, (STATE, ACTION)
            )
            if numbers is not None:
                config = LeRobot(data=schema.root)
                report.joints, report.actions = joints_and_actions(
                    numbers[STATE][:, list(match.state_index)],
                    numbers[ACTION],
                    match.names,
                    config,
                )
        if SUCCESS in names:
            report.success = bool(report.rows.columns[SUCCESS].any())
        if report.rows.task not in listing.tasks:
            report.file_problems.append(
                f"{entry.data}: {entry.name}: task_index {report.rows.task} is in no list of tasks"
            )
    for name, key in (camera_keys(schema, ()) if schema.cameras else {}).items():
        problems: list[str] = []
        clip = report.attempt(problems, open_camera, schema, entry, name, key)
        if clip is not None:
            report.clips[name] = clip
        if problems:
            report.camera_problems[name] = problems
    return report
