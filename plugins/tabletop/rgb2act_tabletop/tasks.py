"""The tasks: initial layouts, and when an episode succeeds.

Units: metres and radians in the world frame; x right, y away from the head camera, z up from
the table's surface. Sides: 0 = left arm (x < 0), 1 = right arm (x > 0).
"""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

CUBE = 0.02  # half an edge
HOLD_STEPS = 3  # control steps for which the goal must hold: 0.3 s
LIFTED = 0.05  # height above its start at which the cube counts as lifted
REACHED = 0.02  # distance of a hand from the cube's centre that counts as reached
PEDESTAL = (0.0, 0.14)  # range of heights
APART = 0.10  # minimum distance of a distractor from the cube and the other distractor
SHAPE_APART = 0.12  # the same, for the wider objects of lift_shape
SHAPE = 0.028  # half an edge of the objects of lift_shape

Pattern = Literal["", "stripes", "checks"]


@attrs.frozen(kw_only=True)
class Body:
    """An object that can be moved."""

    name: str
    colour: str  # material of the scene
    shape: Literal["box", "cylinder"] = "box"
    half: float = CUBE  # half an edge; a cylinder is as high
    pattern: Pattern = ""  # drawn instead of the colour


_CUBE = Body(name="cube", colour="red")
_COLOURED = (_CUBE, Body(name="blue", colour="blue"), Body(name="green", colour="green"))
_SHAPES = (
    Body(name="cube", colour="red", half=SHAPE, pattern="stripes"),
    Body(name="checked_box", colour="blue", half=SHAPE, pattern="checks"),
    Body(name="cylinder", colour="green", shape="cylinder", half=SHAPE, pattern="checks"),
)


@attrs.frozen(kw_only=True)
class Task:
    """A task: its goal and its objects."""

    name: str
    instruction: str
    max_steps: int
    pedestal: bool = False
    bodies: tuple[Body, ...] = (_CUBE,)  # the target, then the distractors
    apart: float = APART
    turned: bool = True  # distractors have random yaw angles; the target has none

    @property
    def distractors(self) -> tuple[Body, ...]:
        """Return the objects that must not be taken for the target."""
        return self.bodies[1:]

    @property
    def state_names(self) -> tuple[str, ...]:
        """Return the names of the ground-truth arrays of this task."""
        extra = ("pedestal",) * self.pedestal + ("distractors",) * bool(self.distractors)
        return ("cube", "hands", *extra)


_LIFT = "lift the red cube with the nearer hand"
TASKS = {
    task.name: task
    for task in (
        Task(name="reach", instruction="move the nearer hand to the red cube", max_steps=50),
        Task(name="lift", instruction=_LIFT, max_steps=70),
        Task(name="lift_pedestal", instruction=_LIFT, max_steps=70, pedestal=True),
        Task(
            name="lift_distractors",
            instruction=_LIFT,
            max_steps=70,
            pedestal=True,
            bodies=_COLOURED,
        ),
        Task(
            name="lift_shape",
            instruction="lift the striped box with the nearer hand",
            max_steps=70,
            bodies=_SHAPES,
            apart=SHAPE_APART,
            turned=False,  # otherwise the only box without a yaw angle would be the target
        ),
        Task(
            name="transfer",
            instruction="lift the red cube and hand it to the other hand",
            max_steps=110,
        ),
    )
}


@attrs.frozen(kw_only=True)
class Layout:
    """Initial positions of the objects in an episode."""

    cube: tuple[float, float, float]
    pedestal: float | None  # height; None without a pedestal
    distractors: tuple[tuple[float, float, float], ...]  # x, y, yaw on the table

    @property
    def side(self) -> int:
        """Return the side of the arm that is nearer to the cube."""
        return int(self.cube[0] > 0)


def layout(task: Task, rng: np.random.Generator) -> Layout:
    """Sample the initial positions of the objects."""
    x = rng.choice((-1.0, 1.0)) * rng.uniform(0.03, 0.20)
    y = rng.uniform(0.40, 0.60)
    height = float(rng.uniform(*PEDESTAL)) if task.pedestal else None
    taken = [(float(x), float(y))]
    spots: list[tuple[float, float, float]] = []
    for _ in task.distractors:
        spot = _free(taken, task.apart, rng)
        taken.append(spot)
        spots.append((*spot, float(rng.uniform(0, np.pi / 2)) if task.turned else 0.0))
    z = task.bodies[0].half + (height or 0.0)
    return Layout(cube=(*taken[0], z), pedestal=height, distractors=tuple(spots))


def _free(
    taken: list[tuple[float, float]], apart: float, rng: np.random.Generator
) -> tuple[float, float]:
    while True:
        x, y = float(rng.uniform(-0.22, 0.22)), float(rng.uniform(0.36, 0.64))
        if all(np.hypot(x - other[0], y - other[1]) >= apart for other in taken):
            return x, y


@attrs.frozen(kw_only=True)
class Grip:
    """The facts that success depends on, at one step."""

    touching: tuple[bool, bool]  # per hand: both of its fingers touch the cube
    resting: bool  # the cube touches anything that is not a hand
    rise: float  # height of the cube above its start
    distance: float  # distance of the nearer hand from the cube


def holds(task: Task, side: int, grip: Grip) -> bool:
    """Return whether the goal holds at a step; success needs ``HOLD_STEPS`` such steps."""
    if task.name == "reach":
        return grip.distance < REACHED
    lifted = grip.rise > LIFTED and not grip.resting
    if task.name == "transfer":
        return lifted and grip.touching[1 - side] and not grip.touching[side]
    return lifted and grip.touching[side]
