"""The action dimensions that a policy controls, and what happens to the others.

Action names of a bimanual robot begin with ``left_`` or ``right_``. Those of other robots may have
any names, and ``arms = "both"`` controls all of them. Grippers are named ``gripper`` or end in
``_gripper``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from ..spec import PolicySpec

SIDES = ("left", "right")


def action_index(names: Sequence[str], policy: PolicySpec) -> tuple[int, ...]:
    """Return the indices of the action dimensions that the policy controls.

    Raises UserError if it controls none.
    """
    controlled = tuple(
        i
        for i, name in enumerate(names)
        if policy.arms in ("both", side(name)) and (policy.gripper or not is_gripper(name))
    )
    if not controlled:
        bimanual = any(side(name) for name in names)
        remedy = "choose an arm that has them" if bimanual else "set arms = 'both'"
        raise UserError(
            f"policy.arms: {policy.arms!r} controls none of the actions {tuple(names)!r}; {remedy}"
        )
    return controlled


def side(name: str) -> str:
    """Return ``left`` or ``right``, or an empty string for a dimension of a single-arm robot."""
    first = name.partition("_")[0]
    return first if first in SIDES else ""


def is_gripper(name: str) -> bool:
    """Return whether the action dimension is a gripper."""
    return name == "gripper" or name.endswith("_gripper")


def held_grippers(names: Sequence[str], controlled: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of grippers whose arm the policy controls, but not the gripper itself."""
    arms = {side(names[i]) for i in controlled}
    return tuple(
        i
        for i, name in enumerate(names)
        if i not in controlled and is_gripper(name) and side(name) in arms
    )


def check_grippers(names: Sequence[str], policy: PolicySpec) -> None:
    """Raise UserError if the spec leaves open what the grippers of controlled arms do."""
    idle = [names[i] for i in held_grippers(names, action_index(names, policy))]
    if idle and policy.gripper_when_absent == "error":
        raise UserError(
            f"policy.gripper: is false, but the environment has {', '.join(idle)}; set gripper ="
            " true, or gripper_when_absent = 'hold' to keep their value"
        )
