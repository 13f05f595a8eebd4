"""What is wrong or surprising in recorded episodes, beyond what the core finds and reading refuses.

Shapes: T = kept frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rgb2act_core import UserError
from rgb2act_core.interfaces import Episode, Finding, Severity

from ..config import LeRobot
from .episode_reader import read_rows
from .episode_table import EpisodeEntry, Listing
from .motion import is_gripper, matching

TURN = 6.4  # radians, slightly more than a turn
HUNDRED = 110.0  # percent, with some overshoot
PERCENT = 1.5  # gripper values above it are no fractions
SHARE = 0.1  # of the frames


def check_episodes(
    listing: Listing, entries: Sequence[EpisodeEntry], episodes: Sequence[Episode], config: LeRobot
) -> Iterator[Finding]:
    """Yield findings about tasks that change within an episode, units and grippers."""
    for entry in entries:
        try:
            rows = read_rows(listing.schema, entry)
        except UserError:  # reading the episode reports it
            continue
        if (frame := rows.later_task) is not None:
            yield _finding(
                Severity.NOTE,
                "tasks",
                str(entry.data),
                f"{entry.name} changes its task; all its frames have the instruction of the first",
                "set [environment] states = ['task_index'] to record the change",
                frame=frame,
            )
    if episodes:
        yield from _units(listing, episodes, config)


def _units(listing: Listing, episodes: Sequence[Episode], config: LeRobot) -> Iterator[Finding]:
    names = matching(listing.schema, config).names
    values_TA = np.concatenate([np.abs(e.joints) for e in episodes if e.joints is not None])
    grippers = np.array([is_gripper(name) for name in names])
    path = str(listing.schema.root)
    beyond_A = (values_TA > TURN).mean(axis=0) >= SHARE
    if config.units == "radians" and (beyond_A & ~grippers).any():
        largest = float(values_TA[:, ~grippers].max())
        guess = "percent" if largest <= HUNDRED else "degrees"
        yield _finding(
            Severity.WARNING,
            "units",
            path,
            f"joints reach {largest:.4g}, so they are no radians: LeRobot records degrees or"
            " -100 to 100, depending on the robot's configuration",
            f"set [environment] units to 'degrees', 'percent' or 'other' (probably '{guess}')",
        )
    if (
        config.gripper_range is None
        and ((values_TA > PERCENT).mean(axis=0) >= SHARE)[grippers].any()
    ):
        largest = float(values_TA[:, grippers].max())
        yield _finding(
            Severity.WARNING,
            "grippers",
            path,
            f"grippers reach {largest:.4g}, expected 0 (closed) to 1 (open)",
            "set [environment] gripper_range to the values of a closed and of an open gripper,"
            " such as [0, 100]",
        )


def _finding(
    severity: Severity,
    rule: str,
    source: str,
    problem: str,
    remedy: str,
    *,
    frame: int | None = None,
) -> Finding:
    return Finding(
        severity=severity,
        rule=f"lerobot.{rule}",
        source=source,
        problem=problem,
        remedy=remedy,
        frame=frame,
    )
