"""Which of an environment's action dimensions a policy moves, and what the others do.

Action names begin with ``left_`` or ``right_``; grippers end in ``_gripper``.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import UserError
from .spec import Policy


def action_index(names: Sequence[str], policy: Policy) -> tuple[int, ...]:
    """Return the places of the dimensions that the policy moves, in the environment's order."""
    moved = tuple(
        i
        for i, name in enumerate(names)
        if policy.arms in ("both", name.partition("_")[0])
        and (policy.gripper or not name.endswith("_gripper"))
    )
    if not moved:
        raise UserError(f"policy.arms: {policy.arms!r} moves none of {tuple(names)!r}")
    return moved


def check_grippers(names: Sequence[str], policy: Policy) -> None:
    """Raise UserError when moving arms have grippers and nothing says what these should do."""
    idle = [n for n in names if n.endswith("_gripper") and policy.arms in ("both", n.split("_")[0])]
    if idle and not policy.gripper and policy.gripper_when_absent == "error":
        raise UserError(
            f"policy.gripper: false, but the environment has {', '.join(idle)}; set gripper = true,"
            " or gripper_when_absent = 'hold' to hold their value"
        )
