"""All rules, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from ..interfaces import Finding
from . import action_meaning, clouds, dead_joints, images, jumps, outliers, stillness, times, units
from .recordings import Recordings


@attrs.frozen
class Rule:
    """One rule: what it is called, what it finds, and the function that finds it."""

    name: str
    summary: str
    find: Callable[[Recordings], Iterator[Finding]]


UNIT_RULES = (
    Rule("degrees", "joints in degrees where radians are declared", units.degrees),
    Rule("radians", "joints in radians where degrees are declared", units.radians),
    Rule("gripper_range", "grippers outside 0 to 1", units.gripper_range),
    Rule("millimetres", "lengths in millimetres where metres are declared", units.millimetres),
)
MOTION_RULES = (  # they apply if the units are right
    Rule("relative", "actions relative to the present joints", action_meaning.relative),
    Rule("present_state", "actions equal to the present joints", action_meaning.present_state),
    Rule("order", "actions that fit the frame before", action_meaning.order),
    Rule("drift", "actions and joints that drift apart", action_meaning.drift),
    Rule("outlier", "values far from all others", outliers.outliers),
    Rule("jump", "joints that jump from one frame to the next", jumps.jumps),
    Rule("dead_joint", "joints that do not move although they should", dead_joints.dead_joints),
    Rule("still", "episodes that hardly move", stillness.still),
    Rule("duplicate_episode", "episodes that occur twice", stillness.duplicate_episodes),
)
CONTENT_RULES = (
    Rule("time", "times that go backwards, stop or have gaps", times.times),
    Rule("camera", "cameras that are black, saturated, blank or frozen", images.cameras),
    Rule("cloud", "point clouds that are empty, not finite, far away or uncoloured", clouds.clouds),
)
INVALID = "invalid"  # shapes, types and values that no stage could use
NAMES = (INVALID, *(rule.name for rule in (*UNIT_RULES, *MOTION_RULES, *CONTENT_RULES)))
