"""The tasks: initial layouts, and when an episode succeeds.

Units: metres and radians in the world frame; x right, y away from the head camera, z up from
the table's surface. Sides: 0 = left arm (x < 0), 1 = right arm (x > 0).
"""

from __future__ import annotations

import attrs
import numpy as np

CUBE = 0.02  # half an edge
HOLD_STEPS = 3  # control steps for which the goal must hold: 0.3 s
LIFTED = 0.05  # height above its start at which the cube counts as lifted
REACHED = 0.02  # distance of a hand from the cube's centre that counts as reached
PEDESTAL = (0.0, 0.14)  # range of heights
APART = 0.10  # minimum distance of a distractor from the cube and the other distractor
DISTRACTOR_NAMES = ("blue", "green")


@attrs.frozen(kw_only=True)
class Task:
    """A task: its goal and its objects."""

    name: str
    instruction: str
    max_steps: int
    pedestal: bool = False
    distractors: int = 0

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
            distractors=2,
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
    for _ in range(task.distractors):
        spot = _free(taken, rng)
        taken.append(spot)
        spots.append((*spot, float(rng.uniform(0, np.pi / 2))))
    z = CUBE + (height or 0.0)
    return Layout(cube=(*taken[0], z), pedestal=height, distractors=tuple(spots))


def _free(taken: list[tuple[float, float]], rng: np.random.Generator) -> tuple[float, float]:
    while True:
        x, y = float(rng.uniform(-0.22, 0.22)), float(rng.uniform(0.36, 0.64))
        if all(np.hypot(x - other[0], y - other[1]) >= APART for other in taken):
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
