from typing import Any

import pytest

from rgb2act_core.data.action_layout import action_index, check_grippers, held_grippers
from rgb2act_core.errors import UserError
from rgb2act_core.plugins.components import Component
from rgb2act_core.spec import HeadChoice, PolicySpec

NAMES = tuple(
    f"{side}_{part}"
    for side in ("left", "right")
    for part in ("waist", "shoulder", "elbow", "roll", "angle", "rotate", "gripper")
)


def policy(**options: Any) -> PolicySpec:
    head = Component(name="none", config=PolicySpec, build=lambda c: c, tiny=None)
    return PolicySpec(head=HeadChoice(component=head, config=None), **options)


@pytest.mark.parametrize(
    ("arms", "gripper", "moved"),
    [
        ("left", False, range(6)),
        ("left", True, range(7)),
        ("right", False, range(7, 13)),
        ("right", True, range(7, 14)),
        ("both", False, [*range(6), *range(7, 13)]),
        ("both", True, range(14)),
    ],
)
def test_arms_and_gripper_determine_the_action_dimensions(
    arms: str, gripper: bool, moved: Any
) -> None:
    assert action_index(NAMES, policy(arms=arms, gripper=gripper)) == tuple(moved)


def test_a_policy_without_grippers_must_set_their_position() -> None:
    with pytest.raises(UserError, match="left_gripper, right_gripper"):
        check_grippers(NAMES, policy(gripper=False))
    with pytest.raises(UserError, match="has left_gripper;"):
        check_grippers(NAMES, policy(gripper=False, arms="left"))
    check_grippers(NAMES, policy(gripper=False, gripper_when_absent="hold"))


def test_a_missing_arm_is_rejected() -> None:
    with pytest.raises(UserError, match="controls none of"):
        action_index(NAMES[:7], policy(arms="right"))


def test_only_grippers_of_controlled_arms_are_held() -> None:
    assert held_grippers(NAMES, range(6)) == (6,)
    assert held_grippers(NAMES, [*range(6), *range(7, 13)]) == (6, 13)
    assert held_grippers(NAMES, range(7)) == ()


FRANKA = (*(f"panda_joint{i}" for i in range(1, 8)), "gripper")
HUMANOID = ("left_elbow", "right_elbow", "waist", "left_gripper", "head_gripper")


def test_all_joints_of_other_robots_are_controlled_by_name() -> None:
    assert action_index(FRANKA, policy()) == tuple(range(8))
    assert action_index(HUMANOID, policy()) == tuple(range(5))
    hold = policy(gripper=False, gripper_when_absent="hold")
    assert action_index(FRANKA, hold) == tuple(range(7))
    assert held_grippers(FRANKA, range(7)) == (7,)
    assert action_index(HUMANOID, hold) == (0, 1, 2)
    assert held_grippers(HUMANOID, (0, 1, 2)) == (3, 4)
    with pytest.raises(UserError, match="has gripper; set gripper = true"):
        check_grippers(FRANKA, policy(gripper=False))
    with pytest.raises(UserError, match=r"'left' controls none of .* set arms = 'both'"):
        action_index(FRANKA, policy(arms="left"))
