from types import SimpleNamespace

import numpy as np
import pytest

from rgb2act_core.evaluation.episode_metrics import demonstrated_jump, smoothness, step_lengths

NAMES = ("left_a", "left_b", "left_gripper")


def path(*points: tuple[float, float]) -> np.ndarray:
    return np.array([(*point, 0.0) for point in points], np.float32)


def hands(*points: tuple[float, float, float]) -> np.ndarray:
    """Return the paths of a hand at rest and of one that moves through the points."""
    moving = np.array(points, np.float32)
    return np.stack([np.zeros_like(moving), moving], axis=1)


def measure(commands: np.ndarray, ways: np.ndarray | None = None) -> dict[str, float | int]:
    blind = np.zeros((len(commands) + 1, 0, 3), np.float32)
    return smoothness(commands, NAMES, blind if ways is None else ways)


def test_a_steady_path_has_neither_jumps_nor_rewinds() -> None:
    found = measure(path(*[(0.1 * i, 0.0) for i in range(40)]))
    assert (found["jumps"], found["rewinds"]) == (0, 0)
    assert round(float(found["largest_step"]), 5) == 0.1


def test_an_immediate_return_to_an_earlier_position_is_a_rewind() -> None:
    path_out = [(0.1 * i, 0.0) for i in range(15)]
    found = measure(path(*path_out, (0.12, 0.01)))
    assert (found["jumps"], found["rewinds"]) == (1, 1)
    found = measure(path(*path_out, (0.12, 0.5)))  # a jump to a new position
    assert (found["jumps"], found["rewinds"]) == (1, 0)
    found = measure(path(*path_out[:6], (0.1, 0.0)))  # 5 steps ago is too recent to count
    assert (found["jumps"], found["rewinds"]) == (1, 0)


def test_a_jump_is_longer_than_the_given_steps() -> None:
    way, blind = path(*[(0.3 * i, 0.0) for i in range(5)], (3.0, 0.0)), hands()[:, :0]
    assert smoothness(way, NAMES, blind)["jumps"] == 5
    assert smoothness(way, NAMES, blind, 0.45)["jumps"] == 1


@pytest.mark.parametrize(("scale", "expected"), [(0.01, 0.15), (0.2, 0.3), (1.0, 1.5)])
def test_a_jump_follows_the_steps_of_the_demonstrations(scale: float, expected: float) -> None:
    """Single long steps and grippers do not count."""
    actions = path(*[(scale * i, 0.0) for i in range(400)])
    actions[200:, 0] += 50.0
    actions[::2, 2] = 9.0
    episode = SimpleNamespace(actions=actions)
    data = SimpleNamespace(demonstrations=[SimpleNamespace(open=lambda: episode)])
    info = SimpleNamespace(action_names=(*NAMES, "right_a", "right_b", "right_gripper"))
    policy = SimpleNamespace(arms="left", gripper=True)
    found = demonstrated_jump(data, info, policy)  # type: ignore[arg-type]
    assert round(found, 3) == expected  # float32 actions up to 450


def test_grippers_are_ignored_and_short_paths_have_no_jumps() -> None:
    moving = path((0, 0), (0, 0))
    moving[1, 2] = 1.0
    assert measure(moving) == {"largest_step": 0.0, "jumps": 0, "rewinds": 0}
    assert measure(moving[:1]) == {"largest_step": 0.0, "jumps": 0, "rewinds": 0}


def test_a_hand_that_jumps_back_to_an_earlier_position_is_a_rewind() -> None:
    way = [(0.0, 0.02 * i, 0.1) for i in range(15)]
    still = path(*[(0.0, 0.0)] * 15)
    steady = measure(still[:14], hands(*way))
    assert (steady["hand_jumps"], steady["hand_rewinds"]) == (0, 0)
    assert round(float(steady["largest_hand_step"]), 5) == 0.02
    for back, jumps, rewinds in (
        ((0.01, 0.02, 0.1), 1, 1),  # within 2 cm of 14 steps ago
        ((0.03, 0.0, 0.1), 1, 0),  # 3 cm from the nearest of these positions
        ((0.0, 0.16, 0.1), 1, 0),  # 7 steps ago is too recent to count
        ((0.0, 0.28, 0.149), 0, 0),  # less than 5 cm is not a jump
    ):
        found = measure(still, hands(*way, back))
        assert (found["hand_jumps"], found["hand_rewinds"]) == (jumps, rewinds), back
    assert found["jumps"] == 0  # the joints did not move


def test_step_lengths_of_joints_and_of_the_fastest_hand() -> None:
    ways = hands((0, 0, 0), (0, 0, 0.01), (0, 0, 0.03))
    found = step_lengths(path((0, 0), (0.3, 0.4)), NAMES, ways)
    np.testing.assert_allclose(found["joints"], [0.5], rtol=1e-5)  # float32 differences
    np.testing.assert_allclose(found["hands"], [0.01, 0.02], rtol=1e-4)  # of values near 1
    assert "hands" not in step_lengths(path((0, 0)), NAMES, ways[:, :0])
