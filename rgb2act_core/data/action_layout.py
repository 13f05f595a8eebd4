"""Which of an environment's action dimensions a policy moves, and what the others do.

Names of two arms' actions begin with ``left_`` or ``right_``; those of other robots may have any
names, and ``arms = "both"`` moves them. Grippers are called ``gripper`` or end in ``_gripper``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from ..spec import Policy

SIDES = ("left", "right")


def action_index(names: Sequence[str], policy: Policy) -> tuple[int, ...]:
    """Return the places of the dimensions that the policy moves, in the environment's order."""
    moved = tuple(
        i
        for i, name in enumerate(names)
        if policy.arms in ("both", side(name)) and (policy.gripper or not is_gripper(name))
    )
    if not moved:
        sided = any(side(name) for name in names)
        remedy = "" if sided else "; set arms = 'both', which moves all that have no side"
        raise UserError(f"policy.arms: {policy.arms!r} moves none of {tuple(names)!r}{remedy}")
    return moved


def side(name: str) -> str:
    """Return ``left``, ``right``, or nothing for a dimension of a robot without sides."""
    first = name.partition("_")[0]
    return first if first in SIDES else ""


def is_gripper(name: str) -> bool:
    """Tell a gripper from a joint."""
    return name == "gripper" or name.endswith("_gripper")


def held_grippers(names: Sequence[str], moved: Sequence[int]) -> tuple[int, ...]:
    """Return the places of grippers that a policy does not move, though it moves their arm."""
    arms = {side(names[i]) for i in moved}
    return tuple(
        i
        for i, name in enumerate(names)
        if i not in moved and is_gripper(name) and side(name) in arms
    )


def check_grippers(names: Sequence[str], policy: Policy) -> None:
    """Raise UserError when moving arms have grippers and nothing says what these should do."""
    idle = [names[i] for i in held_grippers(names, action_index(names, policy))]
    if idle and policy.gripper_when_absent == "error":
        raise UserError(
            f"policy.gripper: false, but the environment has {', '.join(idle)}; set gripper = true,"
            " or gripper_when_absent = 'hold' to hold their value"
        )
