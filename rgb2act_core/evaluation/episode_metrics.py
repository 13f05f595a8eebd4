"""Metrics of an episode: how smoothly its joints and hands moved, and how often plans were clipped.

Shapes: T = steps executed, A = all action dimensions, X = hands, D = dimensions of a path
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import action_index, is_gripper
from ..data.dataset import Dataset
from ..interfaces import EnvironmentInfo
from ..policy.rollout import Rollout
from ..spec import PolicySpec

REWIND_STEPS = (10, 80)  # how many steps back a rewind can lead
CLIPPED = 0.05  # half ranges; a joint that clipping moved by more is counted


@attrs.frozen(kw_only=True)
class Limits:
    """Distances that define a jump and a rewind."""

    jump: float  # a longer step is a jump
    rewind: float  # a jump that ends this close to an earlier position is a rewind


JOINTS = Limits(jump=0.15, rewind=0.05)  # radians, norm over all joints; the smallest jump
USUAL = 1.5  # times the 99th percentile of the demonstrations' steps
HANDS = Limits(jump=0.05, rewind=0.02)  # metres


def episode_facts(rollout: Rollout, hands_TX3: NDArray[np.float32]) -> dict[str, Any]:
    """Return the number of plans and the smoothness of the executed steps.

    ``hands_TX3`` are the hands' positions at the start and after each step. ``seam`` is the mean
    RMS difference of a plan to the previous one, in half ranges. ``clipped_steps``, for heads that
    clip, is the share of steps in which clipping moved a joint (not a gripper) of the plan by more
    than 5% of its half range. The others are those of ``smoothness``.
    """
    seams, steps = rollout.chunks.seams, len(hands_TX3) - 1
    commands_TA, names = _moved_commands(rollout, steps)
    facts = {
        "plans": len(rollout.commands),
        "seam": float(np.mean(seams)) if seams else 0.0,
        **smoothness(commands_TA, names, hands_TX3, rollout.config.jump),
    }
    if rollout.clipped_by:
        joints = [i for i, name in enumerate(names) if not is_gripper(name)]
        clipped_T = (np.concatenate(rollout.clipped_by)[:steps, joints] > CLIPPED).any(1)
        facts["clipped_steps"] = float(clipped_T.mean())
    return facts


def _moved_commands(rollout: Rollout, steps: int) -> tuple[NDArray[np.float32], list[str]]:
    """Return the executed commands of the dimensions that the policy moves, and their names."""
    moved = list(rollout.config.action_index)
    names = [rollout.config.action_names[i] for i in moved]
    return np.concatenate(rollout.commands)[:steps, moved], names


def demonstrated_jump(data: Dataset, info: EnvironmentInfo, policy: PolicySpec) -> float:
    """Return the length in radians of steps that demonstrations rarely have.

    1.5 times the 99th percentile of the steps between consecutive actions, at least 0.15.
    """
    moved = list(action_index(info.action_names, policy))
    names = [info.action_names[i] for i in moved]
    lengths = [
        _lengths(_joints(np.asarray(actions)[:, moved], names))
        for ref in data.demonstrations
        if (actions := ref.open().actions) is not None
    ]
    steps = np.concatenate(lengths) if lengths else np.zeros(0)
    usual = float(np.percentile(steps, 99)) if len(steps) else 0.0
    return max(JOINTS.jump, USUAL * usual)


def smoothness(
    commands_TA: NDArray[np.float32],
    names: Sequence[str],
    hands_TX3: NDArray[np.float32],
    jump: float = JOINTS.jump,
) -> dict[str, float | int]:
    """Return how smooth the commanded joints (T, A) and the paths of the hands (T, X, 3) are.

    ``largest_step``: longest step of the commands, norm over all joints in radians, without
    grippers. ``jumps``: steps longer than ``jump``. ``rewinds``: jumps that end within 0.05 of a
    position 10 to 80 steps earlier, as happens when a policy returns to an earlier phase of the
    task. ``largest_hand_step``, ``hand_jumps`` and ``hand_rewinds`` are the same for the hands'
    positions in metres, with limits 0.05 and 0.02, the latter two summed over hands; they are
    absent if the environment does not report hands.
    """
    found = _path_metrics(_joints(commands_TA, names), attrs.evolve(JOINTS, jump=jump))
    if hands_TX3.shape[1]:
        each = [_path_metrics(hands_TX3[:, x], HANDS) for x in range(hands_TX3.shape[1])]
        found["largest_hand_step"] = max(hand["largest_step"] for hand in each)
        found["hand_jumps"] = sum(hand["jumps"] for hand in each)
        found["hand_rewinds"] = sum(hand["rewinds"] for hand in each)
    return found


def step_lengths(
    commands_TA: NDArray[np.float32], names: Sequence[str], hands_TX3: NDArray[np.float32]
) -> dict[str, list[float]]:
    """Return the lengths of the steps from the second on, of the joints and the fastest hand."""
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


def _path_metrics(path_TD: NDArray[np.float32], limits: Limits) -> dict[str, float | int]:
    steps_T = _lengths(path_TD)
    jumps = np.flatnonzero(steps_T > limits.jump) + 1
    path = path_TD.astype(np.float64)
    return {
        "largest_step": float(steps_T.max(initial=0.0)),
        "jumps": len(jumps),
        "rewinds": sum(_is_rewind(path, int(t), limits.rewind) for t in jumps),
    }


def _is_rewind(path_TD: NDArray[np.float64], t: int, within: float) -> bool:
    """Return whether the path at step t is close to its position 10 to 80 steps earlier."""
    nearest, farthest = REWIND_STEPS
    before = path_TD[max(t - farthest, 0) : max(t - nearest + 1, 0)]
    return bool((np.linalg.norm(before - path_TD[t], axis=1) <= within).any())
