"""How smoothly an episode's joints and hands were led.

Shapes: T = steps executed, A = dimensions, X = hands, D = dimensions of what moves
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import is_gripper

EARLIER = (10, 80)  # steps before, to which a rewind goes back


@attrs.frozen(kw_only=True)
class Limits:
    """Say which step is a jump, and how near to an earlier place a rewind lands."""

    jump: float
    back: float


JOINTS = Limits(jump=0.15, back=0.05)  # radians over all joints
HANDS = Limits(jump=0.05, back=0.02)  # metres


def measure(
    commands_TA: NDArray[np.float32], names: Sequence[str], hands_TX3: NDArray[np.float32]
) -> dict[str, float | int]:
    """Return what the commanded joints (T, A) and the hands' ways (T, X, 3) were like.

    ``largest_step``: the longest step of the commands, radians over all joints, grippers left out;
    ``jumps``: steps longer than 0.15; ``rewinds``: jumps that land within 0.05 of a place of 10 to
    80 steps ago, as a policy makes that takes up an earlier moment of its demonstrations.
    ``largest_hand_step``, ``hand_jumps`` and ``hand_rewinds`` are the same of where the hands
    were: the longest in metres, the others of more than 0.05 and within 0.02, over all hands.
    They are left out where the environment does not tell where hands are.
    """
    found = _course(_joints(commands_TA, names), JOINTS)
    if hands_TX3.shape[1]:
        each = [_course(hands_TX3[:, x], HANDS) for x in range(hands_TX3.shape[1])]
        found["largest_hand_step"] = max(hand["largest_step"] for hand in each)
        found["hand_jumps"] = sum(hand["jumps"] for hand in each)
        found["hand_rewinds"] = sum(hand["rewinds"] for hand in each)
    return found


def steps(
    commands_TA: NDArray[np.float32], names: Sequence[str], hands_TX3: NDArray[np.float32]
) -> dict[str, list[float]]:
    """Return the lengths of all steps from the second on: of the joints and of the fastest hand."""
    found = {"joints": _lengths(_joints(commands_TA, names)).tolist()}
    if hands_TX3.shape[1]:
        found["hands"] = _lengths(hands_TX3).max(1).tolist()
    return found


def _joints(commands_TA: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    return commands_TA[:, [i for i, name in enumerate(names) if not is_gripper(name)]]


def _lengths(path: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the lengths of the steps, (T - 1, ...), of a path (T, ..., D)."""
    lengths: NDArray[np.float64] = np.linalg.norm(np.diff(path.astype(np.float64), axis=0), axis=-1)
    return lengths


def _course(path_TD: NDArray[np.float32], limits: Limits) -> dict[str, float | int]:
    steps_T = _lengths(path_TD)
    jumps = np.flatnonzero(steps_T > limits.jump) + 1
    return {
        "largest_step": float(steps_T.max(initial=0.0)),
        "jumps": len(jumps),
        "rewinds": sum(_back(path_TD.astype(np.float64), int(t), limits.back) for t in jumps),
    }


def _back(path_TD: NDArray[np.float64], t: int, near: float) -> bool:
    """Tell whether the path at step t is where it was 10 to 80 steps before."""
    before = path_TD[max(t - EARLIER[1], 0) : max(t - EARLIER[0] + 1, 0)]
    return bool((np.linalg.norm(before - path_TD[t], axis=1) <= near).any())
