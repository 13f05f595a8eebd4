"""Joint values that a policy learned from, and observed values far outside of them.

A policy extrapolates silently: joints in degrees or a gripper from 0 to 100 give plans that look
like any other. Its normalisation statistics contain the ranges of the training data.

Shapes: k = observations, A = all action dimensions, M = dimensions that the policy moves
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .policy import Policy

WIDER = 3.0  # half ranges by which a joint may leave the range without being reported
LEAST = 1.0  # and at least this much: a radian, a metre, or the full stroke of a gripper
STD = 3.0  # standard deviations of the observed joints that count as their range
LISTED = 3  # joints in a message


@attrs.frozen(eq=False)
class JointRange:
    """Range of each joint that the policy moves, in the data that it was trained on."""

    names: tuple[str, ...]
    index: tuple[int, ...]  # of the joints among all action dimensions
    low_M: NDArray[np.float32]
    high_M: NDArray[np.float32]

    def far(self, joints_kA: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which joints (k, M) are far outside the range."""
        half_M = (self.high_M - self.low_M) / 2
        margin_M = WIDER * half_M + np.maximum(LEAST, half_M.mean())
        moved_kM = joints_kA[:, list(self.index)]
        below_kM, above_kM = moved_kM < self.low_M - margin_M, moved_kM > self.high_M + margin_M
        far_kM: NDArray[np.bool_] = below_kM | above_kM
        return far_kM

    def warning(self, joints_kA: NDArray[np.float32]) -> str | None:
        """Return which joints are far outside the range, or None."""
        far_kM = self.far(joints_kA)
        if not far_kM.any():
            return None
        step = int(far_kM.any(1).argmax())
        joints = np.flatnonzero(far_kM[step])
        listed = ", ".join(
            f"{self.names[m]} is {joints_kA[step, self.index[m]]:.4g} (learned from"
            f" {self.low_M[m]:.3g} to {self.high_M[m]:.3g})"
            for m in joints[:LISTED]
        )
        more = f" and {len(joints) - LISTED} more joints" if len(joints) > LISTED else ""
        return (
            f"observe: {listed}{more}: far outside the training data; check the units (radians or"
            " degrees, grippers from 0 to 1 or to 100) and the order of the joints"
        )


def joint_range(policy: Policy, task: int = 0) -> JointRange:
    """Return the range of the joints in the training data of a task."""
    middle, half = policy.action_middle, policy.action_half
    if half.ndim == 2:
        middle, half = middle[task], half[task]
    low_M, high_M = _array(middle - half), _array(middle + half)
    if policy.config.proprio:
        mean_M, spread_M = _array(policy.joint_mean), STD * _array(policy.joint_std)
        low_M, high_M = np.minimum(low_M, mean_M - spread_M), np.maximum(high_M, mean_M + spread_M)
    config = policy.config
    names = tuple(config.action_names[i] for i in config.action_index)
    return JointRange(names, config.action_index, low_M, high_M)


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().cpu().numpy()
    return array
